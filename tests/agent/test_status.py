"""The status socket, asked by the client that damosctl uses and by plain ones."""

import errno
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from damos_agent.agent.listeners import listen_unix
from damos_agent.agent.sockets import Limits, Peer
from damos_agent.agent.status import StatusAnswer, ask, do, explain, read_status
from damos_agent.model.errors import HostError
from damos_agent.model.status import (
    AgentStatus,
    GoalStatus,
    PolicyState,
    PolicyStatus,
    SchemeOutcome,
)
from tests.agent.serving import read_all, serving

OUTCOME = SchemeOutcome(
    index=0,
    action="pageout",
    nr_tried=10,
    sz_tried=1 << 30,
    nr_applied=5,
    sz_applied=1 << 29,
    qt_exceeds=3,
    nr_tried_delta=1,
    sz_tried_delta=4096,
    nr_applied_delta=1,
    sz_applied_delta=4096,
    qt_exceeds_delta=0,
    quota_bytes=1 << 20,
    effective_bytes=None,
    goals=(GoalStatus("memory_psi_some", "share", 100, 7), GoalStatus("rss", "size", 1, None)),
)
STATUS = AgentStatus(
    version="0.1.0",
    pid=7,
    started=1.5,
    now=2.5,
    kernel="6.12.0",
    backend="kernel",
    backend_reason="DAMON's sysfs is there",
    policies=(
        PolicyStatus("web", PolicyState.ACTIVE, "enforce", "kernel", "/p", "d", schemes=(OUTCOME,)),
        PolicyStatus("db", PolicyState.WAITING, "observe", "kernel", "/q", "e", stale_since=9.0),
    ),
    rejected=("/r",),
    rejected_files=1,
    drift={"web": 2},
    reloads=4,
    reload_failures=1,
)


def answering(does: dict[str, Callable[[dict[str, str]], None]] | None = None) -> StatusAnswer:
    return StatusAnswer(gets={"status": lambda: STATUS}, does=does or {})


def test_the_client_gets_the_very_status(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    with serving(listen_unix(str(path)), answering()):
        assert read_status(str(path)) == STATUS


@pytest.mark.parametrize("request_line", [b"", b"\n", b'{"get": "status"}\n', b'{"get":"status"}'])
def test_a_plain_client_gets_one_line_of_json(tmp_path: Path, request_line: bytes) -> None:
    path = tmp_path / "status.sock"
    with (
        serving(listen_unix(str(path)), answering(), Limits(request_s=0.1)),
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(str(path))
        client.sendall(request_line)
        answer = read_all(client)
    assert answer.endswith(b"\n")
    assert answer.count(b"\n") == 1
    assert json.loads(answer)["policies"][0]["name"] == "web"


def test_a_command_is_performed_once_and_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    done: list[str] = []
    with serving(
        listen_unix(str(path)), answering({"reload": lambda _request: done.append("reload")})
    ):
        do(str(path), "reload")
        assert ask(str(path), {"do": "reload"}) == {"kind": "Done", "done": "reload"}
    assert done == ["reload", "reload"]


def test_only_root_and_the_owner_may_command() -> None:
    done: list[str] = []
    answer = StatusAnswer({}, {"reload": lambda _request: done.append("reload")}, owner=500)
    for uid, allowed in ((0, True), (500, True), (501, False), (-1, False)):
        done.clear()
        reply = answer(b'{"do": "reload"}\n', Peer(uid=uid), complete=False)
        assert reply is not None
        assert json.loads(reply)["kind"] == ("Done" if allowed else "Refused")
        assert done == (["reload"] if allowed else [])


def test_the_peer_is_who_connects(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    peers: list[Peer] = []

    def note(_request: bytes, peer: Peer, *, complete: bool) -> bytes | None:
        peers.append(peer)
        return b"{}\n"

    with serving(listen_unix(str(path)), note):
        ask(str(path), {"get": "status"})
    assert peers[0] == Peer(os.getpid(), os.getuid(), os.getgid())


@pytest.mark.parametrize(
    "request_line",
    [b"hello\n", b"[]\n", b'{"get": 1}\n', b'{"get": "weather"}\n', b'{"do": "halt"}\n', b"{}\n",
     b"[" * 8000 + b"\n", b"\xff\xfe\n"],
)  # fmt: skip
def test_nonsense_is_refused_with_a_hint(request_line: bytes) -> None:
    reply = answering()(request_line, Peer(uid=0), complete=False)
    assert reply is not None
    refused = json.loads(reply)
    assert refused["kind"] == "Refused"
    assert refused["hint"]


def test_a_refusal_reaches_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    served = serving(listen_unix(str(path)), answering())
    with served, pytest.raises(HostError, match="does not know"):
        do(str(path), "reload")


def test_no_socket_means_not_running(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"not running here \(start it with"):
        read_status(str(tmp_path / "status.sock"))


def test_a_socket_left_behind_means_it_died(tmp_path: Path) -> None:
    listen_unix(str(tmp_path / "status.sock")).close()
    with pytest.raises(HostError, match="without tidying up"):
        read_status(str(tmp_path / "status.sock"))


def test_an_agent_that_hangs_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "status.sock")
    with listen_unix(path), pytest.raises(HostError, match="does not answer"):
        read_status(path, timeout_s=0.05)


@pytest.mark.parametrize(
    "raw", [errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN, errno.EAGAIN]
)
def test_a_slow_agent_is_told_as_such(raw: int) -> None:
    """Not in the kernel's words: it is neither gone nor broken."""
    message, hint = explain(OSError(raw, os.strerror(raw)))
    assert os.strerror(raw) not in message
    assert ("slow" in message) or ("busy" in message)
    assert hint.startswith("ask again")


def test_an_agent_that_hangs_up_before_it_is_asked(tmp_path: Path) -> None:
    path = str(tmp_path / "status.sock")
    with listen_unix(path) as listener:
        listener.setblocking(True)
        hanging_up = threading.Thread(target=lambda: listener.accept()[0].close())
        hanging_up.start()
        with pytest.raises(HostError, match=r"hung up|cut short"):
            read_status(path)
        hanging_up.join()


@pytest.mark.parametrize(
    ("answer", "message"),
    [(b"", "cut short"), (b'{"kind": "Agent', "cut short"), (b"{}", "another version")],
)
def test_a_broken_answer_is_told(tmp_path: Path, answer: bytes, message: str) -> None:
    path = tmp_path / "status.sock"
    served = serving(listen_unix(str(path)), lambda _request, _peer, *, complete: answer)
    with served, pytest.raises(HostError, match=message):
        read_status(str(path))
