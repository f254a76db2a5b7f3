"""sd_notify datagrams as systemd would receive them."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from damos_agent.agent.notify import Notifier, watchdog_us


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def notifier(supervisor: socket.socket) -> Notifier:
    environ = {"NOTIFY_SOCKET": supervisor.getsockname()}
    return Notifier.from_environ(environ)


def test_ready_with_status(supervisor: socket.socket) -> None:
    notifier(supervisor).ready("3 policies active,\n1 rejected")
    assert supervisor.recv(1000) == b"READY=1\nSTATUS=3 policies active, 1 rejected"


def test_reloading_tells_when(supervisor: socket.socket) -> None:
    Notifier(supervisor.getsockname(), monotonic_ns=lambda: 1_234_567_899).reloading()
    assert supervisor.recv(1000) == b"RELOADING=1\nMONOTONIC_USEC=1234567"


def test_the_other_messages(supervisor: socket.socket) -> None:
    out = notifier(supervisor)
    out.stopping()
    out.status("idle")
    out.status("")
    out.watchdog()
    assert [supervisor.recv(1000) for _ in range(3)] == [
        b"STOPPING=1",
        b"STATUS=idle",
        b"WATCHDOG=1",
    ]


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0damos-agent-test-{os.getpid()}")
        listener.settimeout(5)
        Notifier(f"@damos-agent-test-{os.getpid()}").ready()
        assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_silent_without_a_supervisor(environ: dict[str, str]) -> None:
    out = Notifier.from_environ(environ)
    assert not out.on
    out.ready("nobody hears this")


def test_a_supervisor_that_is_gone_or_deaf_does_not_stop_us(
    tmp_path: Path, supervisor: socket.socket
) -> None:
    Notifier(str(tmp_path / "gone")).ready()
    out = notifier(supervisor)
    for _ in range(5000):  # far more than the socket holds: must neither block nor raise
        out.watchdog()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30_000_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30_000_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_interval(environ: dict[str, str], expected: int | None) -> None:
    assert watchdog_us(environ, pid=7) == expected
