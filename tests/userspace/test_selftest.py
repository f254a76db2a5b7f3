"""The child that probes are tried on, and the verdict."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from damos_agent.host.pagemap import Pagemap
from damos_agent.model.damon import Placement
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.probe import Granularity, ProbeInfo
from damos_agent.userspace.selftest import PAGES, Specimen, prove_pages
from damos_agent.userspace.young import Young

PAGE = 4096


def test_the_specimen_is_small_and_wholly_in_memory() -> None:
    began = time.monotonic()
    with Specimen() as specimen:
        started_s = time.monotonic() - began
        with Pagemap(specimen.pid) as pagemap:
            for start, end in (specimen.hot, specimen.cold):
                assert start % (2 << 20) == 0
                assert pagemap.count(start, end).present == end - start == 4 << 20
        status = Path(f"/proc/{specimen.pid}/status").read_text()
        assert int(status.split("VmHWM:")[1].split()[0]) << 10 < 20 << 20
    assert started_s < 5  # 0.1 on a quiet machine
    assert not Path(f"/proc/{specimen.pid}").exists()


def test_its_halves_are_two_mappings() -> None:
    with Specimen() as specimen:
        lines = Path(f"/proc/{specimen.pid}/maps").read_text().splitlines()
        spans = [[int(word, 16) for word in line.split()[0].split("-")] for line in lines]
        holding = [
            number
            for half in (specimen.hot, specimen.cold)
            for number, (start, end) in enumerate(spans)
            if start <= half[0] and half[1] <= end
        ]
        assert len(set(holding)) == 2


def test_it_ends_with_its_parent() -> None:
    code = (
        "from damos_agent.userspace.specimen import Specimen; import os\n"
        "print(Specimen().pid, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    deadline = time.monotonic() + 10
    while is_running(int(done.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_nothing_is_left_of_a_specimen_twice_closed() -> None:
    before = os.listdir("/proc/self/fd")
    specimen = Specimen()
    specimen.close()
    specimen.close()
    assert os.listdir("/proc/self/fd") == before


class Answering:
    """A probe, and sampler, that answers so for the hot and so for the cold."""

    info = ProbeInfo("parrot", Granularity.PAGE, "rw", "")

    def __init__(self, hot: bool | None, cold: bool | None) -> None:
        self.answers = [hot] * PAGES + [cold] * PAGES
        self.armed: Sequence[int] = ()
        self.closed = False

    def open(self, process: Placement) -> Answering:
        return self

    def arm(self, addresses: Sequence[int]) -> None:
        self.armed = addresses

    def check(self) -> list[bool | None]:
        return self.answers

    def take_young(self, where: AddressRange) -> list[Young]:
        raise AssertionError(where)

    def close(self) -> None:
        self.closed = True


class Restless(Specimen):
    def rest(self, seconds: float) -> None:
        assert seconds > 0


def prove(probe: Answering) -> None:
    prove_pages(probe, Restless)


def test_rest_lasts_until_the_child_has_done_its_work() -> None:
    with Specimen() as specimen:
        os.kill(specimen.pid, signal.SIGSTOP)
        resumed = threading.Timer(0.3, os.kill, (specimen.pid, signal.SIGCONT))
        before = specimen._count()
        resumed.start()
        specimen.rest(0.001)
        assert specimen._count() >= before + 3
        resumed.join()


def test_rest_ends_with_the_child() -> None:
    with Specimen() as specimen:
        os.kill(specimen.pid, signal.SIGKILL)
        specimen.rest(0.001)


def test_the_truth_passes() -> None:
    probe = Answering(True, False)
    prove(probe)
    assert len(set(probe.armed)) == 2 * PAGES
    assert probe.closed


@pytest.mark.parametrize(
    ("hot", "cold"), [(True, True), (False, False), (None, False), (True, None), (False, True)]
)
def test_anything_else_does_not(hot: bool | None, cold: bool | None) -> None:
    probe = Answering(hot, cold)
    with pytest.raises(UnsupportedError, match=r"parrot fails its test.* 0%"):
        prove(probe)
    assert probe.closed
