"""Major faults, as /proc/PID/stat tells them."""

import errno
import mmap
import os
from pathlib import Path

from damos_agent.host.faults import MajorFaults, parse_faults, read_faults
from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.process import read_stat
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from tests.host.fakes import FakeFilesystem

LINE = (
    "42 (a) b) S 1 42 42 0 -1 4194560 1000 2000 77 88 10 5 0 0 20 0 3 0 5000 9999 256 "
    "18446744073709551615 1 2 3 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 4 5 6 7 8 9 10 0\n"
)


def test_of_all_threads_and_not_of_children() -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    assert parse_faults(LINE, 5000) == MajorFaults(77, 256 * page)


def test_another_process_of_that_pid_is_not_taken_for_it() -> None:
    assert parse_faults(LINE, 4999) is None
    assert parse_faults("", 5000) is None


def test_who_has_gone_or_is_hidden_has_none() -> None:
    fs = FakeFilesystem({"/proc/1/stat": errno.ESRCH, "/proc/2/stat": errno.EACCES})
    assert [read_faults(fs, Roots(), Placement(pid, 1)) for pid in (1, 2, 3)] == [None] * 3


def test_a_real_process_faults_when_a_file_must_be_read(tmp_path: Path) -> None:
    """Where the file system can drop its pages; on tmpfs the count merely may not fall."""
    fs, roots, pid = RealFilesystem(), Roots(), os.getpid()
    stat = read_stat(fs, roots, pid)
    assert stat is not None
    me = Placement(pid, stat.start_ticks)
    before = read_faults(fs, roots, me)
    file = tmp_path / "f"
    file.write_bytes(b"x" * (1 << 20))
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[0] == ord("x")
    finally:
        os.close(descriptor)
    after = read_faults(fs, roots, me)
    assert before is not None
    assert after is not None
    assert after.count >= before.count
    assert after.resident_bytes > 1 << 20
