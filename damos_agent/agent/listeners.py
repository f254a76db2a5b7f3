"""Listening sockets: unix paths, loopback ports, and those systemd hands over."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from damos_agent.model.errors import ConfigError, HostError, OwnershipError

FIRST_INHERITED: Final = 3
"""sd_listen_fds(3): SD_LISTEN_FDS_START."""
BACKLOG: Final = 16


def listen_unix(path: str, *, mode: int = 0o660) -> socket.socket:
    """A stream socket at `path`. A socket nobody listens on any more is replaced.

    Raises `OwnershipError` if somebody listens there, `HostError` if it cannot be made.
    """
    try:
        _clear_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(listener.fileno(), mode)  # bind takes it over: never wider, not for a moment
            listener.bind(path)
            os.chmod(path, mode)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise HostError(
            f"cannot listen: {error.strerror or error}",
            path=path,
            errno=error.errno,
            hint="the directory must exist and be ours to write; the unit's RuntimeDirectory= "
            "makes it",
        ) from error
    listener.setblocking(False)
    return listener


def _clear_stale(path: str) -> None:
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise OwnershipError("there is a file that is no socket", path=path, hint="remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OwnershipError(
        "somebody is listening there already", path=path, hint="is another damos-agent running?"
    )


def parse_loopback(address: str) -> tuple[str, int]:
    """Host and port of `host:port`; raises `ConfigError` unless the host is this machine only."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(
            f"{address!r} is no address to listen on",
            hint="write unix:/run/damos-agent/metrics.sock or 127.0.0.1:9945",
        )
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    with suppress(ValueError):
        if _is_loopback(host):
            return host, int(port)
    raise ConfigError(
        f"metrics are served on loopback only, not on {host or 'every address'}",
        hint="listen on 127.0.0.1 and let a local collector or a proxy with TLS pass them on",
    )


def _is_loopback(host: str) -> bool:
    family, start = (
        (socket.AF_INET6, bytes(15) + b"\1") if ":" in host else (socket.AF_INET, b"\x7f")
    )
    try:
        return socket.inet_pton(family, host).startswith(start)
    except OSError:
        return False


def listen_loopback(address: str) -> socket.socket:
    """A stream socket on `host:port`; port 0 picks a free one. Raises as `parse_loopback`."""
    host, port = parse_loopback(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise HostError(
            f"cannot listen on {address}: {error.strerror or error}",
            errno=error.errno,
            hint="under the hardened unit use a unix socket or damos-agent-metrics.socket",
        ) from error
    listener.setblocking(False)
    return listener


def listen(address: str, *, mode: int = 0o660) -> socket.socket:
    """A listener for `unix:/path` or `host:port`."""
    if address.startswith("unix:"):
        return listen_unix(address.removeprefix("unix:"), mode=mode)
    return listen_loopback(address)


def inherited(environ: Mapping[str, str], pid: int, name: str) -> list[socket.socket]:
    """The listening sockets systemd passed under `name` (FileDescriptorName=) to process `pid`."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(pid) or not count.isdecimal():
        return []
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    numbered = zip(range(FIRST_INHERITED, FIRST_INHERITED + int(count)), names, strict=False)
    return [adopt(descriptor) for descriptor, given in numbered if given == name]


def adopt(descriptor: int) -> socket.socket:
    """The listening socket behind an inherited `descriptor`; raises `HostError` if it is none."""
    try:
        listener = socket.socket(fileno=descriptor)
        listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise HostError(
            f"file descriptor {descriptor} from systemd is no socket", errno=error.errno
        ) from error
    if not listening:
        raise HostError(
            f"file descriptor {descriptor} from systemd does not listen",
            hint="the socket unit needs ListenStream= and Accept=no",
        )
    listener.set_inheritable(False)
    listener.setblocking(False)
    return listener
