"""The probe memcg proves itself, or is dropped with the reason."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError, UnsupportedError
from damos_agent.model.policy import ProbeChoice
from damos_agent.userspace.ladder import Ladder
from damos_agent.userspace.memcg import CgroupAges
from damos_agent.userspace.prove_ages import HALF_BYTES, compare, prove_ages
from tests.host.fakes import FakeFilesystem
from tests.userspace.test_group_view import A

MIB = 1 << 20
LRU_GEN = "/sys/kernel/debug/lru_gen"


class Machine(FakeFilesystem):
    """Its lru_gen takes commands, unless `error` is an errno."""

    def __init__(self, error: int = 0) -> None:
        super().__init__({"/sys/kernel/mm/lru_gen/enabled": "0x0007\n", LRU_GEN: ""})
        self.error = error
        self.written: list[str] = []

    def write(self, path: str, text: str) -> None:
        assert path == LRU_GEN
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        self.written.append(text)


def test_where_no_cgroup_can_be_made_the_file_is_enough(tmp_path: Path) -> None:
    """What is written to it is no command."""
    for error in (0, errno.EINVAL):
        fs, roots = Machine(error), Roots(cgroup=str(tmp_path))
        prove_ages(CgroupAges(fs, roots), fs, roots)
        assert "".join(fs.written).strip() == ""
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_may_not_be_written(tmp_path: Path) -> None:
    fs, roots = Machine(errno.EROFS), Roots(cgroup=str(tmp_path))
    with pytest.raises(HostError):
        prove_ages(CgroupAges(fs, roots), fs, roots)


def test_the_ladder_tells_why_not() -> None:
    fs = FakeFilesystem()
    ladder = Ladder(fs, Roots())
    with pytest.raises(UnsupportedError, match="memcg: the multi-gen LRU is not built in"):
        ladder.choose(ProbeChoice.MEMCG)
    (rung,) = [one for one in ladder.rungs() if one.name == "memcg"]
    assert rung.granularity == "cgroup"
    assert "not built in" in rung.reason


def test_it_is_no_rung_for_processes() -> None:
    assert ProbeChoice.MEMCG not in Ladder(FakeFilesystem(), Roots())._automatic()


def test_both_halves_must_be_told() -> None:
    assert HALF_BYTES == 16 * MIB
    compare((A,))
    with pytest.raises(UnsupportedError, match="0 MiB were told in use and 65 MiB idle"):
        compare((type(A)(1, "/a", 0, (*A.generations[:2], *[A.generations[3]] * 2)),))
