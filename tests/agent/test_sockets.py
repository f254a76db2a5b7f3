"""Clients of every temper: slow, silent, greedy, gone. None holds up the loop or the others."""

import os
import selectors
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from damos_agent.agent.listeners import (
    inherited,
    listen,
    listen_loopback,
    listen_unix,
    parse_loopback,
)
from damos_agent.agent.sockets import Limits, Peer, Server
from damos_agent.model.errors import ConfigError, HostError, OwnershipError
from tests.agent.serving import read_all, serving

BIG = b"x" * (8 << 20)


def echo_line(request: bytes, _peer: Peer, *, complete: bool) -> bytes | None:
    if request == b"big\n":
        return BIG
    return b"<" + request + b">" if complete or b"\n" in request else None


def silent(_request: bytes, _peer: Peer, *, complete: bool) -> bytes | None:
    return None


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(path))
    return client


def test_a_request_in_pieces_is_answered_once_whole(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving(listen_unix(str(path)), echo_line), connect(path) as client:
        client.sendall(b"he")
        time.sleep(0.05)
        client.sendall(b"llo\n")
        assert read_all(client) == b"<hello\n>"


def test_a_client_that_says_nothing_is_answered_after_its_time(tmp_path: Path) -> None:
    path = tmp_path / "s"
    limits = Limits(request_s=0.05)
    with serving(listen_unix(str(path)), echo_line, limits), connect(path) as client:
        assert read_all(client) == b"<>"


def test_half_closing_ends_the_request(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving(listen_unix(str(path)), echo_line), connect(path) as client:
        client.sendall(b"end")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"<end>"


def test_a_request_too_long_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "s"
    limits = Limits(request_bytes=10)
    with serving(listen_unix(str(path)), echo_line, limits), connect(path) as client:
        client.sendall(b"0123456789ABC")
        assert read_all(client) == b"<0123456789>"


def test_no_answer_closes(tmp_path: Path) -> None:
    path = tmp_path / "s"
    limits = Limits(request_s=0.05)
    with serving(listen_unix(str(path)), silent, limits), connect(path) as client:
        assert read_all(client) == b""


def test_a_reader_that_stalls_does_not_hold_up_the_others(tmp_path: Path) -> None:
    path = tmp_path / "s"
    limits = Limits(answer_s=0.3)
    with serving(listen_unix(str(path)), echo_line, limits) as loop, connect(path) as stalled:
        stalled.sendall(b"big\n")
        with connect(path) as client:
            started = time.monotonic()
            client.sendall(b"quick\n")
            assert read_all(client) == b"<quick\n>"
            assert time.monotonic() - started < 0.25
        deadline = time.monotonic() + 5
        while loop.open_connections() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert loop.open_connections() == 0
        assert len(read_all(stalled)) < len(BIG)


def test_a_big_answer_arrives_whole(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving(listen_unix(str(path)), echo_line), connect(path) as client:
        client.sendall(b"big\n")
        assert read_all(client) == BIG


def test_the_oldest_gives_way_when_there_are_too_many(tmp_path: Path) -> None:
    path = tmp_path / "s"
    limits = Limits(request_s=60, clients=3)
    with serving(listen_unix(str(path)), echo_line, limits) as loop:
        idle = [connect(path) for _ in range(5)]
        assert read_all(idle[0]) == b""
        assert read_all(idle[1]) == b""
        assert loop.open_connections() <= 3
        idle[4].sendall(b"last\n")
        assert read_all(idle[4]) == b"<last\n>"
        for client in idle:
            client.close()


def test_clients_that_vanish_at_every_stage(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving(listen_unix(str(path)), echo_line) as loop:
        connect(path).close()
        with connect(path) as client:
            client.sendall(b"part")
        with connect(path) as client:
            client.sendall(b"big\n")
        with connect(path) as client:
            client.sendall(b"still there\n")
            assert read_all(client) == b"<still there\n>"
        deadline = time.monotonic() + 5
        while loop.open_connections() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert loop.open_connections() == 0


def test_a_unix_socket_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        listener = listen_unix(str(tmp_path / "s"), mode=0o660)
    finally:
        os.umask(old)
    listener.close()
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660


def test_a_stale_socket_is_replaced_a_live_one_and_a_file_are_not(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    listen_unix(path).close()
    with listen_unix(path), pytest.raises(OwnershipError, match="already"):
        listen_unix(path)
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OwnershipError, match="no socket"):
        listen_unix(str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "precious"


def test_what_we_made_goes_when_we_stop_listening(tmp_path: Path) -> None:
    """What is left behind looks like a crash to whoever asks next."""
    selector = selectors.DefaultSelector()
    path = tmp_path / "s"
    for own in (str(path), ""):
        Server(selector, listen_unix(str(path)), silent, path=own).close()
        assert path.exists() is not bool(own)
    path.unlink()
    server = Server(selector, listen_unix(str(path)), silent, path=str(path))
    path.unlink()
    server.close()


def test_a_missing_directory_is_explained(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="RuntimeDirectory"):
        listen(f"unix:{tmp_path}/none/s")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:9945", ("127.0.0.1", 9945)),
        ("localhost:0", ("127.0.0.1", 0)),
        ("127.8.9.10:1", ("127.8.9.10", 1)),
        ("[::1]:9945", ("::1", 9945)),
    ],
)
def test_loopback_addresses(address: str, expected: tuple[str, int]) -> None:
    assert parse_loopback(address) == expected


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:9945", ":9945", "[::]:9945", "192.168.1.2:80", "example.org:80", "9945", "x:y",
     "127.0.0.1:65536", "127.0.0.1"],
)  # fmt: skip
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(ConfigError):
        parse_loopback(address)


def test_a_port_in_use_is_explained() -> None:
    with listen_loopback("127.0.0.1:0") as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HostError, match="cannot listen on"):
            listen_loopback(f"127.0.0.1:{port}")


CHILD = """
import os, sys
from damos_agent.agent.listeners import inherited
environ = dict(os.environ, LISTEN_PID=str(os.getpid()))
for name in ("metrics", "status"):
    for listener in inherited(environ, os.getpid(), name):
        number = listener.fileno()
        print(name, listener.getsockname()[1], number, os.get_inheritable(number))
        listener.detach()
"""


def test_sockets_from_systemd_are_found_by_name() -> None:
    """As systemd passes them: descriptors from 3 on, named in LISTEN_FDNAMES."""
    with listen_loopback("127.0.0.1:0") as first, listen_loopback("127.0.0.1:0") as second:
        ports = [first.getsockname()[1], second.getsockname()[1]]
        script = (
            f"exec 3<&{first.fileno()} 4<&{second.fileno()}; exec {sys.executable} -c '{CHILD}'"
        )
        result = subprocess.run(
            ["bash", "-c", script],
            pass_fds=(first.fileno(), second.fileno()),
            env={"LISTEN_FDS": "2", "LISTEN_FDNAMES": "other:metrics", "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=True,
        )
    assert result.stdout == f"metrics {ports[1]} 4 False\n"


def test_sockets_for_another_process_are_not_ours() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "metrics"}
    assert inherited(environ, os.getpid(), "metrics") == []
    assert inherited({}, os.getpid(), "metrics") == []


def test_an_inherited_file_or_unconnected_socket_is_refused(tmp_path: Path) -> None:
    from damos_agent.agent.listeners import adopt

    with (tmp_path / "file").open("w") as file, pytest.raises(HostError, match="no socket"):
        adopt(os.dup(file.fileno()))
    with socket.socket() as plain, pytest.raises(HostError, match="does not listen"):
        adopt(os.dup(plain.fileno()))
