"""Reading what tells of harm, from literal text and from this machine."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from damos_agent.host.filesystem import KeptFile, RealFilesystem
from damos_agent.host.harm import (
    FaultCounter,
    PulseReader,
    parse_refaults,
    parse_some_us,
    read_cpu_us,
    read_group,
)
from damos_agent.host.process import parse_stat_cpu
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError
from tests.host.fakes import FakeFilesystem, stat_line

VMSTAT = "nr_free_pages 9\nworkingset_refault_anon 7\nworkingset_refault_file 5\npgmajfault 3\n"
PRESSURE = "some avg10=0.00 avg60=0.00 avg300=0.00 total=123\nfull avg10=0.00 total=99\n"
ROOTS = Roots()


def test_refaults_of_both_kinds() -> None:
    assert parse_refaults(VMSTAT) == 12
    assert parse_refaults("workingset_refault_file 5\n") == 5
    assert parse_refaults("xworkingset_refault_anon 7\nworkingset_refault_anon_x 8\n") is None
    assert parse_refaults("") is None


def test_the_total_is_that_of_some() -> None:
    assert parse_some_us(PRESSURE) == 123
    assert parse_some_us("") is None


def test_the_pulse_of_a_machine_and_of_one_without_psi() -> None:
    files: dict[str, str | int] = {
        "/proc/vmstat": VMSTAT,
        "/proc/pressure/memory": PRESSURE,
        "/proc/pressure/io": errno.EOPNOTSUPP,
    }
    pulse = PulseReader(FakeFilesystem(files), ROOTS).read()
    assert (pulse.refaults, pulse.memory_psi_us, pulse.io_psi_us) == (12, 123, None)
    files["/proc/vmstat"] = errno.EIO
    with pytest.raises(HostError):
        PulseReader(FakeFilesystem(files), ROOTS).read()


def test_this_machine_has_a_pulse() -> None:
    reader = PulseReader(RealFilesystem(), ROOTS)
    first, second = reader.read(), reader.read()
    reader.close()
    assert first.refaults is not None
    assert second.refaults is not None
    assert second.refaults >= first.refaults


def test_a_kept_file_is_read_anew_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one\n" * 10_000)
    kept = KeptFile(RealFilesystem(), str(path))
    assert kept.read() == "one\n" * 10_000
    path.write_text("two\n")
    assert kept.read() == "two\n"
    path.unlink()
    assert kept.read() == "two\n"
    kept.close()
    with pytest.raises(FileNotFoundError):
        kept.read()


def test_a_group_tells_of_itself() -> None:
    files: dict[str, str | int] = {
        "/cg/memory.stat": VMSTAT,
        "/cg/memory.current": "8192\n",
        "/cg/memory.pressure": PRESSURE,
    }
    found = read_group(FakeFilesystem(files), "/cg")
    assert found is not None
    assert (found.refaults, found.resident_bytes) == (12, 8192)
    assert (found.memory_psi_us, found.io_psi_us) == (123, None)
    del files["/cg/memory.current"]  # no memory controller
    assert read_group(FakeFilesystem(files), "/cg") is None


def faulting(fs: FakeFilesystem, pid: int, faults: int) -> None:
    fields = stat_line(pid, "work", start=7).split()
    fields[11] = str(faults)
    fs.files[f"/proc/{pid}/stat"] = " ".join(fields)


def test_faults_count_from_when_a_process_is_first_seen() -> None:
    fs, counter = FakeFilesystem(), None
    faulting(fs, 10, 500)
    counter = FaultCounter(fs, ROOTS)
    both = (Placement(10, 7), Placement(11, 7))
    assert counter.read(both, 1_000).refaults == 0
    faulting(fs, 10, 530)
    faulting(fs, 11, 9_000)
    assert counter.read(both, 2_000).refaults == 30
    faulting(fs, 11, 9_001)
    del fs.files["/proc/10/stat"]
    assert counter.read(both, 3_000).refaults == 31


def test_no_more_count_than_the_machine_had() -> None:
    """The first read of a file is a major fault, but nothing that had been evicted."""
    fs = FakeFilesystem()
    counter = FaultCounter(fs, ROOTS)
    faulting(fs, 10, 0)
    counter.read([Placement(10, 7)], 100)
    faulting(fs, 10, 5_000)
    assert counter.read([Placement(10, 7)], 103).refaults == 3
    faulting(fs, 10, 6_000)
    assert counter.read([Placement(10, 7)], None).refaults == 1_003  # unknown is no excuse


def test_cpu_time() -> None:
    fields = stat_line(10, "a (b) c", start=7).split()
    text = " ".join(fields[:-1])
    assert parse_stat_cpu(text) >= 0
    fs = FakeFilesystem({"/proc/9/stat": "9 (kdamond.0) S" + " 0" * 10 + " 150 50" + " 0" * 30})
    assert read_cpu_us(fs, ROOTS, 9) == 2_000_000
    assert read_cpu_us(fs, ROOTS, 8) is None
