"""Why a region is not acted on: the answer people get."""

from __future__ import annotations

from dataclasses import replace

import pytest

from damos_agent.algo.explain import Condition, by_age, find, judge, sentence
from damos_agent.kernel.features import profile_of
from damos_agent.model.policy import (
    Action,
    AddressRange,
    Filter,
    FilterType,
    Pattern,
    Quota,
    Scheme,
    Watermarks,
)
from damos_agent.model.userspace import Snapshot, SnapshotRegion

S, MIB = 1_000_000, 1 << 20
COLD = SnapshotRegion(7, 0, 8 * MIB, 0, 300 * S)
WARM = SnapshotRegion(7, 8 * MIB, 16 * MIB, 10, 20 * S)
OTHER = SnapshotRegion(9, 0, MIB, 0, 5 * S)
SNAP = Snapshot("damon", "region", 5_000, 100_000, 20, (COLD, WARM, OTHER))
OUT = Scheme(
    Action.PAGEOUT, Pattern(access_max_bp=0, age_min_us=120 * S), quota=Quota(size=8 * MIB)
)
NEW = profile_of("7.3")
CALM = Condition()
FAR = AddressRange(1 << 40, 1 << 41)


def why(
    region: SnapshotRegion, scheme: Scheme = OUT, condition: Condition = CALM
) -> tuple[str, ...]:
    verdict = judge(region, SNAP, scheme, 0, condition, NEW)
    return (("matches" if verdict.matches else "does not match"), *verdict.why)


def test_nothing_in_the_way() -> None:
    assert why(COLD) == ("matches",)


def test_every_bound_that_is_missed_is_told() -> None:
    assert why(WARM) == (
        "does not match",
        "access rate: 50% is above 0%",
        "age: it has been like that for 20s, not for 2m yet",
    )
    small = replace(OUT, pattern=Pattern(size_max=4 * MIB, access_min_bp=100, age_max_us=S))
    assert why(COLD, small) == (
        "does not match",
        "size: 8.0 MiB is more than 4.0 MiB",
        "access rate: 0% is below 1%",
        "age: it has been like that for 5m, longer than 1s",
    )
    large = replace(OUT, pattern=Pattern(size_min=MIB * 16))
    assert why(COLD, large)[1] == "size: 8.0 MiB is less than 16.0 MiB"


def test_who_holds_it() -> None:
    assert why(COLD, OUT, Condition("guard: 9 pages"))[1:] == ("held: guard: 9 pages",)


def test_watermarks() -> None:
    marked = replace(OUT, watermarks=Watermarks(S, 500, 400, 200))
    assert why(COLD, marked, Condition(free_permil=600))[1] == (
        "watermark: 60% of memory is free, and it acts at 20% to 50% only"
    )
    assert why(COLD, marked, Condition(free_permil=300)) == ("matches",)


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (
            Filter(FilterType.ADDR, allow=False, range=AddressRange(0, 64 * MIB)),
            ("filter 0: addr rejects it",),
        ),
        (Filter(FilterType.ADDR, allow=True, range=AddressRange(0, 64 * MIB)), ()),
        (Filter(FilterType.ADDR, allow=False, range=AddressRange(MIB * 32, MIB * 64)), ()),
        (
            Filter(FilterType.ADDR, allow=False, matching=False, range=FAR),
            ("filter 0: addr rejects it",),
        ),
        (
            Filter(FilterType.ANON, allow=True, matching=False),
            ("filter 0: allows what is not anon, page by page",),
        ),
    ],
)
def test_filters(item: Filter, told: tuple[str, ...]) -> None:
    assert why(COLD, replace(OUT, filters=(item,)))[1:] == told


def test_a_quota_that_is_used_up_and_the_place_in_the_row() -> None:
    (text,) = why(COLD, OUT, Condition(exceeded=12, effective=4 * MIB))[1:]
    assert text.startswith("quota: 4.0 MiB was used up 12 times lately; this region's priority is ")
    young = replace(COLD, age_us=130 * S)
    older = why(replace(COLD, age_us=3_600 * S), OUT, Condition(exceeded=1))[1]
    assert _priority(older) > _priority(why(young, OUT, Condition(exceeded=1))[1])


def _priority(text: str) -> int:
    return int(text.partition("priority is ")[2].split()[0])


def test_regions_are_found_by_address_and_process() -> None:
    assert find(SNAP, 4096, None) == [COLD, OTHER]
    assert find(SNAP, 4096, 9) == [OTHER]
    assert find(SNAP, 16 * MIB, None) == []


def test_idle_memory_by_age() -> None:
    assert by_age(SNAP, (S, 10 * S, 600 * S)) == [(S, 9 * MIB), (10 * S, 8 * MIB), (600 * S, 0)]


def test_schemes_in_a_sentence() -> None:
    assert (
        sentence(OUT) == "pageout of memory with access rate 0% to 0%, like that for 2m to longer"
    )
    assert sentence(Scheme(Action.STAT)) == "counting of any memory"
