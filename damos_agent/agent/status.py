"""The status socket: `/run/damos-agent/status.sock`, one request, one JSON document.

A client sends one line and gets one line of JSON back:

    {"get": "status"}   the whole `AgentStatus`; also the answer to an empty or missing line
    {"get": "regions", "policy": NAME}  a `Snapshot` of them; only for root and the agent's own user
    {"do": "reload"}    {"kind": "Done", "done": "reload"}; only for root and the agent's own user
    {"do": "feed", "name": NAME, "number": DIGITS}, the same: a number for guards
    {"do": "pause", "policy": NAME}, {"do": "resume", …}   the same; without a policy: all of them

or `{"kind": "Refused", "message": …, "hint": …}`.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from damos_agent.agent.sockets import Peer
from damos_agent.model.codec import decode, encode
from damos_agent.model.errors import DamosError, HostError
from damos_agent.model.status import AgentStatus

_HUNG_UP = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN})
"""It gives up clients that take a second to ask, and the oldest when there are many."""
_LATER = "ask again in some seconds; if that does not help: journalctl -u damos-agent"
DEFAULT_PATH = "/run/damos-agent/status.sock"


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """Answers requests: `gets` by name return something to encode, `does` perform something, and
    `asks` return what is not for everybody.
    """

    gets: Mapping[str, Callable[[], object]]
    does: Mapping[str, Callable[[dict[str, str]], None]] = field(default_factory=dict)
    owner: int = field(default_factory=os.geteuid)
    asks: Mapping[str, Callable[[dict[str, str]], object]] = field(default_factory=dict)

    def __call__(self, request: bytes, peer: Peer, *, complete: bool) -> bytes | None:
        """One line of JSON once the request line is whole."""
        if b"\n" not in request and not complete:
            return None
        try:
            document = self._answer(_parse(request.partition(b"\n")[0]), peer)
        except DamosError as error:
            document = {"kind": "Refused", "message": error.message, "hint": error.hint or ""}
        return json.dumps(document, separators=(",", ":")).encode() + b"\n"

    def _answer(self, request: dict[str, str], peer: Peer) -> object:
        match request:
            case {"get": name} if name in self.gets:
                return encode(self.gets[name]())
            case {"get": name} if name in self.asks:
                self._require_owner(f"ask for {name}", peer)
                return encode(self.asks[name](request))
            case {"do": name} if name in self.does:
                self._require_owner(name, peer)
                self.does[name](request)
                return {"kind": "Done", "done": name}
        known = [f'{{"get": "{name}"}}' for name in self.gets]
        known += [f'{{"do": "{name}"}}' for name in self.does]
        raise HostError("the agent does not know this request", hint=f"ask {' or '.join(known)}")

    def _require_owner(self, name: str, peer: Peer) -> None:
        if peer.uid not in (0, self.owner):
            raise HostError(
                f"user {peer.uid} may not {name}", hint="only root and the agent's own user may"
            )


def _parse(line: bytes) -> dict[str, str]:
    if not line.strip():
        return {"get": "status"}
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise HostError(
            "the request is no JSON", hint='send one line: {"get": "status"}'
        ) from error
    if not isinstance(request, dict) or not all(isinstance(v, str) for v in request.values()):
        raise HostError("the request is no object of strings", hint='send {"get": "status"}')
    return request


def ask(path: str, request: dict[str, str], *, timeout_s: float = 5.0) -> object:
    """What the agent behind `path` answers, as plain JSON data; raises `HostError`."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(path)
            connection.sendall(json.dumps(request).encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as stream:
                answer = json.loads(stream.read())
    except OSError as error:
        message, hint = explain(error)
        raise HostError(message, path=path, errno=error.errno, hint=hint) from error
    except ValueError as error:
        raise HostError(
            "the answer is cut short", path=path, hint="the agent may just be stopping; try again"
        ) from error
    if isinstance(answer, dict) and answer.get("kind") == "Refused":
        raise HostError(str(answer.get("message")), path=path, hint=str(answer.get("hint")))
    return answer


def explain(error: OSError) -> tuple[str, str]:
    """What is wrong when the agent cannot be asked, and what to do."""
    match error:
        case FileNotFoundError():
            return "the agent is not running here", "start it with: systemctl start damos-agent"
        case ConnectionRefusedError():
            return (
                "the agent has ended without tidying up",
                "see why with: journalctl -u damos-agent",
            )
        case PermissionError():
            return "no permission to ask the agent", "run as root or as a member of its group"
        case TimeoutError():
            return "the agent does not answer", "see what it does with: journalctl -u damos-agent"
        case BlockingIOError():
            return "the agent is busy, and too many are waiting for it", _LATER
        case OSError(errno=code) if code in _HUNG_UP:
            return "the agent hung up: it is slow just now, or ending", _LATER
    return f"cannot ask the agent: {error.strerror or error}", "is it running?"


def read_status(path: str = DEFAULT_PATH, *, timeout_s: float = 5.0) -> AgentStatus:
    """The running agent's status; raises `HostError` that says what is the matter."""
    try:
        return decode(AgentStatus, ask(path, {"get": "status"}, timeout_s=timeout_s))
    except (TypeError, ValueError, AttributeError) as error:
        raise HostError(
            f"the agent speaks another version of this protocol: {error}",
            path=path,
            hint="restart the agent so that it and damosctl are of one version",
        ) from error


def do(path: str, name: str, /, *, timeout_s: float = 5.0, **more: str) -> None:
    """Have the running agent do `name`; returns when it has been taken up."""
    ask(path, {"do": name, **more}, timeout_s=timeout_s)
