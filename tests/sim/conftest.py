"""The `damon` fixture: every simulated release, and the real kernels of lab guests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sim.subject import GUEST, GuestWorld, Subject, real, simulated
from tests.sim.versions import RELEASES

REAL = pytest.param("real", marks=pytest.mark.guest(virtual_time=True))


@pytest.fixture(params=[REAL] if GUEST else [*RELEASES, REAL])
def damon(request: pytest.FixtureRequest) -> Iterator[Subject]:
    subject = real() if request.param == "real" else simulated(request.param)
    subject.cleanup()
    yield subject
    subject.cleanup()
    if isinstance(subject.world, GuestWorld):
        for pid in list(subject.world.children):
            subject.world.kill(pid)
