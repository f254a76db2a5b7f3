"""What this process may do."""

from __future__ import annotations

from damos_agent.host.capability import CAP_SYS_ADMIN, has_capability
from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.roots import Roots
from tests.host.fakes import FakeFilesystem


def test_the_bit_tells() -> None:
    for value, expected in (("000001ffffffffff", True), ("000001ffffdfffff", False)):
        files = FakeFilesystem({"/proc/self/status": f"Name:\tx\nCapEff:\t{value}\n"})
        assert has_capability(files, Roots(), CAP_SYS_ADMIN) is expected


def test_where_it_cannot_be_told() -> None:
    assert has_capability(FakeFilesystem({}), Roots(), CAP_SYS_ADMIN) is None
    assert (
        has_capability(FakeFilesystem({"/proc/self/status": "x"}), Roots(), CAP_SYS_ADMIN) is None
    )


def test_of_this_very_process() -> None:
    assert has_capability(RealFilesystem(), Roots(), CAP_SYS_ADMIN) is not None
