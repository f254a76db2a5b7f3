"""The `damon` fixture: every simulated release on the host, the real kernel in a lab guest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sim.subject import GUEST, Subject, real, simulated
from tests.sim.versions import RELEASES


@pytest.fixture(params=["guest"] if GUEST else RELEASES)
def damon(request: pytest.FixtureRequest) -> Iterator[Subject]:
    subject = real() if GUEST else simulated(request.param)
    subject.cleanup()
    yield subject
    subject.cleanup()
