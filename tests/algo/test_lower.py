"""What a policy becomes on kernels of different ages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from damos_agent.algo.lower import CENSUS, check_ops, lower
from damos_agent.kernel.features import profile_of
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.feature import Features, Source
from damos_agent.model.policy import PidTarget, Policy, Watermarks
from tests.kernel.desk import reclaim


@pytest.mark.parametrize(("kernel", "awake"), [("6.1", True), ("6.12", True), ("7.3", False)])
def test_old_kernels_stay_awake_outside_watermarks(kernel: str, awake: bool) -> None:
    """There a commit would otherwise block until free memory is back within them."""
    policy = reclaim("a", 1)
    marks = Watermarks(interval_us=5_000_000, high_permil=500, mid_permil=400, low_permil=100)
    schemes = tuple(replace(scheme, watermarks=marks) for scheme in policy.schemes)
    made = lower(replace(policy, schemes=schemes), (), profile_of(kernel))
    assert (made.schemes[-1] == CENSUS) is awake
    assert lower(policy, (), profile_of(kernel)).schemes[-1] == CENSUS


@pytest.mark.parametrize(
    ("detail", "hinted"),
    [("", True), ("kernel 6.1 has no DAMON sysfs", True), ("only root may", False)],
)
def test_what_damon_needs_is_told_where_it_is_missing(detail: str, hinted: bool) -> None:
    """Not where the reason is another one."""
    features = Features("6.1", Source.ABSENT, detail=detail)
    with pytest.raises(UnsupportedError) as caught:
        check_ops(Policy("a", PidTarget((1,)), ()), features)
    assert ("CONFIG_DAMON_SYSFS" in str(caught.value)) is hinted
