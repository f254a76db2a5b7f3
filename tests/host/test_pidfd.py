"""The end of followed processes, on real ones."""

from __future__ import annotations

import errno
import os
import select
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.pidfd import ProcessWatcher
from damos_agent.host.process import read_stat
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement

Start = Callable[[], "tuple[subprocess.Popen[bytes], Placement]"]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def run() -> tuple[subprocess.Popen[bytes], Placement]:
            child = subprocess.Popen(["sleep", "100"])
            stack.callback(child.wait)
            stack.callback(child.kill)
            stat = read_stat(RealFilesystem(), Roots(), child.pid)
            assert stat is not None
            return child, Placement(child.pid, stat.start_ticks)

        yield run


@pytest.fixture
def watcher() -> Iterator[ProcessWatcher]:
    with ProcessWatcher(RealFilesystem(), Roots()) as found:
        yield found


def is_readable(watcher: ProcessWatcher, seconds: float) -> bool:
    return bool(select.select([watcher], [], [], seconds)[0])


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def refusing(code: int) -> Callable[[int], int]:
    def refuse(_pid: int) -> int:
        raise OSError(code, os.strerror(code))

    return refuse


def test_an_exit_wakes_the_loop_and_is_told_once(start: Start, watcher: ProcessWatcher) -> None:
    (first, one), (_, two) = start(), start()
    assert watcher.watch([one, two]) == ()
    assert watcher.polled == frozenset()
    assert not is_readable(watcher, 0)
    assert watcher.take_exited() == ()
    first.kill()
    assert is_readable(watcher, 10)
    assert watcher.take_exited() == (one,)
    assert watcher.take_exited() == ()
    assert not is_readable(watcher, 0)


def test_a_killed_process_that_nobody_reaped_counts_as_exited(
    start: Start, watcher: ProcessWatcher
) -> None:
    child, process = start()
    watcher.watch([process])
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert watcher.take_exited() == (process,)
    assert watcher.watch([process]) == (process,)


def test_the_already_gone_are_returned_at_once(start: Start, watcher: ProcessWatcher) -> None:
    child, process = start()
    child.kill()
    child.wait()
    assert watcher.watch([process]) == (process,)
    assert watcher.take_exited() == ()


def test_a_reused_pid_is_gone_and_leaves_no_descriptor(
    start: Start, watcher: ProcessWatcher
) -> None:
    _, process = start()
    other = Placement(process.pid, process.start_ticks - 1)
    before = descriptors()
    assert watcher.watch([other]) == (other,)
    assert descriptors() == before


def test_only_those_named_last_are_followed(start: Start, watcher: ProcessWatcher) -> None:
    (first, one), (second, two) = start(), start()
    before = descriptors()
    watcher.watch([one, two])
    assert descriptors() == before + 2
    watcher.watch([one, two])
    assert descriptors() == before + 2
    watcher.watch([two])
    assert descriptors() == before + 1
    first.kill()
    first.wait()
    assert not is_readable(watcher, 0)
    second.kill()
    assert is_readable(watcher, 10)
    assert watcher.take_exited() == (two,)
    assert descriptors() == before


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.EPERM, errno.ENOSYS])
def test_what_cannot_be_opened_is_polled(start: Start, code: int) -> None:
    child, process = start()
    with ProcessWatcher(RealFilesystem(), Roots(), refusing(code)) as watcher:
        assert watcher.watch([process]) == ()
        assert watcher.polled == {process}
        assert watcher.take_exited() == ()
        child.kill()
        child.wait()
        assert watcher.take_exited() == (process,)
        assert watcher.polled == frozenset()


def test_the_polled_are_opened_once_that_works_again(start: Start) -> None:
    _, process = start()
    answers: list[Callable[[int], int]] = [refusing(errno.EMFILE), os.pidfd_open]
    with ProcessWatcher(RealFilesystem(), Roots(), lambda pid: answers.pop(0)(pid)) as watcher:
        watcher.watch([process])
        assert watcher.polled == {process}
        watcher.watch([process])
        assert watcher.polled == frozenset()


def test_a_thread_that_leads_no_process_is_gone(watcher: ProcessWatcher) -> None:
    with ProcessWatcher(RealFilesystem(), Roots(), refusing(errno.EINVAL)) as found:
        nobody = Placement(os.getpid(), 1)
        assert found.watch([nobody]) == (nobody,)


def test_closing_gives_every_descriptor_back_and_may_be_repeated(start: Start) -> None:
    processes = [start()[1] for _ in range(5)]
    before = descriptors()
    watcher = ProcessWatcher(RealFilesystem(), Roots())
    watcher.watch(processes)
    assert descriptors() == before + 6
    watcher.close()
    watcher.close()
    assert descriptors() == before


def test_many_exits_at_once_are_all_told(start: Start, watcher: ProcessWatcher) -> None:
    started = [start() for _ in range(40)]
    watcher.watch([process for _, process in started])
    for child, _ in started:
        child.kill()
        child.wait()
    assert watcher.take_exited() == tuple(sorted((p for _, p in started), key=lambda p: p.pid))
