"""Laws of filters."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.verdict import (
    Judged,
    PageFacts,
    Verdict,
    accepts_page,
    core_accepts_rest,
    judge,
    ops_accepts_rest,
)
from damos_agent.model.damon import FilterSpec, SchemeSpec
from damos_agent.model.policy import FilterType

ALLOW_ADDR = FilterSpec("addr", matching=True, allow=True, addr_start=100, addr_end=200)
REJECT_ADDR = replace(ALLOW_ADDR, allow=False)
ALLOW_TARGET = FilterSpec("target", matching=True, allow=True, target_idx=1)
REJECT_TARGET = replace(ALLOW_TARGET, allow=False)
ALLOW_ANON = FilterSpec("anon", matching=True, allow=True)
REJECT_ANON = replace(ALLOW_ANON, allow=False)
REJECT_FILE = replace(REJECT_ANON, matching=False)
ALLOW_A = FilterSpec("memcg", matching=True, allow=True, memcg_path="/a")
REJECT_A = replace(ALLOW_A, allow=False)

PASS, REJECT, ALLOW = Verdict.PASS, Verdict.REJECT, Verdict.ALLOW


def scheme(*core: FilterSpec, ops: tuple[FilterSpec, ...] = ()) -> SchemeSpec:
    return SchemeSpec("pageout", core_filters=core, ops_filters=ops)


@pytest.mark.parametrize(
    ("core", "ops", "core_rejects", "ops_rejects"),
    [
        ((), (), False, False),
        ((ALLOW_ADDR,), (), True, False),
        ((REJECT_ADDR,), (), False, False),
        ((REJECT_ADDR,), (ALLOW_ANON,), False, True),
        ((ALLOW_ADDR,), (ALLOW_ANON,), False, True),
        ((ALLOW_ADDR, REJECT_ADDR), (), False, False),
        ((), (ALLOW_ANON, REJECT_ANON), False, False),
    ],
)
def test_the_defaults_follow_the_vectors(
    core: tuple[FilterSpec, ...],
    ops: tuple[FilterSpec, ...],
    core_rejects: bool,
    ops_rejects: bool,
) -> None:
    assert core_accepts_rest(core, ops) is not core_rejects
    assert ops_accepts_rest(ops) is not ops_rejects


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 100, Judged(PASS, 100)),
        (0, 101, Judged(PASS, 100)),
        (100, 200, Judged(REJECT, 200)),
        (150, 300, Judged(REJECT, 200)),
        (50, 300, Judged(PASS, 100)),
        (200, 300, Judged(PASS, 300)),
    ],
)
def test_an_address_filter_splits_what_straddles_it(start: int, end: int, expected: Judged) -> None:
    assert judge(scheme(REJECT_ADDR), start, end, 0, 1) == expected


def test_what_no_allow_filter_catches_is_rejected() -> None:
    assert judge(scheme(ALLOW_ADDR), 100, 300, 0, 1) == Judged(ALLOW, 200)
    assert judge(scheme(ALLOW_ADDR), 200, 300, 0, 1) == Judged(REJECT, 300)


def test_a_filter_can_be_on_what_is_not_of_its_type() -> None:
    outside = replace(REJECT_ADDR, matching=False)
    assert judge(scheme(outside), 50, 150, 0, 1) == Judged(REJECT, 100)
    assert judge(scheme(outside), 100, 150, 0, 1) == Judged(PASS, 150)


def test_with_page_filters_what_no_core_filter_catches_goes_to_them() -> None:
    assert judge(scheme(ALLOW_ADDR, ops=(ALLOW_ANON,)), 300, 400, 0, 1) == Judged(PASS, 400)


@pytest.mark.parametrize(("target", "expected"), [(0, PASS), (1, REJECT), (2, PASS)])
def test_a_target_filter_is_on_the_index(target: int, expected: Verdict) -> None:
    assert judge(scheme(REJECT_TARGET), 0, 100, target, 1) == Judged(expected, 100)


def test_the_first_filter_that_catches_decides() -> None:
    assert judge(scheme(ALLOW_TARGET, REJECT_ADDR), 100, 200, 1, 1).verdict is ALLOW
    assert judge(scheme(REJECT_ADDR, ALLOW_TARGET), 100, 200, 1, 1).verdict is REJECT


def test_later_filters_judge_what_an_earlier_one_left() -> None:
    far = replace(REJECT_ADDR, addr_start=50, addr_end=80)
    assert judge(scheme(REJECT_ADDR, far), 60, 150, 0, 1) == Judged(REJECT, 80)
    assert judge(scheme(REJECT_ADDR, far), 80, 150, 0, 1) == Judged(PASS, 100)


@pytest.mark.parametrize(
    ("allow", "matching", "starts"),
    [
        (False, True, [PASS, REJECT, REJECT, REJECT, PASS]),
        (True, True, [REJECT, REJECT, ALLOW, REJECT, REJECT]),
        (False, False, [REJECT, REJECT, PASS, REJECT, REJECT]),
        (True, False, [ALLOW, REJECT, REJECT, REJECT, ALLOW]),
    ],
)
def test_a_page_that_is_partly_in_range_is_not_acted_on(
    allow: bool, matching: bool, starts: list[Verdict]
) -> None:
    """The range is [1.5, 3.5) pages."""
    item = FilterSpec("addr", matching, allow, addr_start=6144, addr_end=14336)
    pages = [judge(scheme(item), n * 4096, (n + 1) * 4096, 0, 4096) for n in range(5)]
    assert [page.verdict for page in pages] == starts


_core_filters = st.lists(
    st.builds(
        FilterSpec,
        type=st.sampled_from(["addr", "target"]),
        matching=st.booleans(),
        allow=st.booleans(),
        addr_start=st.integers(0, 30),
        addr_end=st.integers(0, 30),
        target_idx=st.integers(0, 1),
    ),
    max_size=4,
)


@given(_core_filters, st.integers(0, 30), st.integers(1, 30))
def test_a_part_is_judged_as_each_of_its_addresses(
    core: list[FilterSpec], start: int, size: int
) -> None:
    end = start + size
    while start < end:
        part = judge(scheme(*core), start, end, 0, 1)
        assert start < part.end <= end
        for address in range(start, part.end):
            assert judge(scheme(*core), address, address + 1, 0, 1).verdict is part.verdict
        start = part.end


ANON = PageFacts(anon=True, memcg="/a", young=False, hugepage_bytes=4096, active=False)


@pytest.mark.parametrize(
    ("ops", "facts", "accepted"),
    [
        ((), PageFacts(), True),
        ((ALLOW_ANON,), ANON, True),
        ((ALLOW_ANON,), PageFacts(anon=False), False),
        ((REJECT_ANON,), ANON, False),
        ((REJECT_ANON,), PageFacts(anon=False), True),
        ((REJECT_FILE,), ANON, True),
        ((REJECT_FILE,), PageFacts(anon=False), False),
        ((ALLOW_A, ALLOW_ANON), PageFacts(anon=True, memcg="/b"), True),
        ((ALLOW_A, ALLOW_ANON), PageFacts(anon=False, memcg="/b"), False),
        ((ALLOW_A, REJECT_ANON), PageFacts(anon=True, memcg="/a"), True),
        ((REJECT_ANON, ALLOW_A), PageFacts(anon=True, memcg="/a"), False),
        ((REJECT_A,), PageFacts(memcg="/a/b"), True),
    ],
)
def test_the_first_page_filter_that_catches_decides(
    ops: tuple[FilterSpec, ...], facts: PageFacts, accepted: bool
) -> None:
    assert accepts_page(ops, facts) is accepted


@pytest.mark.parametrize(
    ("size", "accepted"), [(4095, True), (4096, False), (8192, False), (8193, True)]
)
def test_folio_sizes_are_inclusive(size: int, accepted: bool) -> None:
    item = FilterSpec("hugepage_size", matching=True, min=4096, max=8192)
    assert accepts_page((item,), PageFacts(hugepage_bytes=size)) is accepted


@pytest.mark.parametrize(
    ("kind", "yes", "no"),
    [
        ("anon", PageFacts(anon=True), PageFacts(anon=False)),
        ("young", PageFacts(young=True), PageFacts(young=False)),
        ("active", PageFacts(active=True), PageFacts(active=False)),
        ("unmapped", PageFacts(unmapped=True), PageFacts(unmapped=False)),
    ],
)
def test_each_fact_is_asked_for_by_its_filter(kind: str, yes: PageFacts, no: PageFacts) -> None:
    item = FilterSpec(kind, matching=True)
    assert not accepts_page((item,), yes)
    assert accepts_page((item,), no)


@pytest.mark.parametrize("kind", [*FilterType, "a type of a later kernel"])
@pytest.mark.parametrize("matching", [True, False])
@pytest.mark.parametrize("allow", [True, False])
def test_what_is_not_known_is_not_acted_on(kind: str, matching: bool, allow: bool) -> None:
    assert not accepts_page((FilterSpec(kind, matching, allow),), PageFacts())


def test_an_unknown_fact_does_not_matter_where_a_known_one_decides_alike() -> None:
    assert accepts_page((ALLOW_A, ALLOW_ANON), PageFacts(anon=True))
    assert not accepts_page((ALLOW_A, REJECT_ANON), PageFacts(anon=True))


_facts = st.builds(
    PageFacts,
    anon=st.none() | st.booleans(),
    memcg=st.none() | st.sampled_from(["/a", "/b"]),
    young=st.none() | st.booleans(),
)
_ops_filters = st.lists(
    st.builds(
        FilterSpec,
        type=st.sampled_from(["anon", "memcg", "young"]),
        matching=st.booleans(),
        allow=st.booleans(),
        memcg_path=st.sampled_from(["/a", "/b"]),
    ),
    max_size=4,
)


@given(_ops_filters, _facts, st.booleans(), st.sampled_from(["/a", "/b"]), st.booleans())
def test_a_page_is_accepted_only_if_it_is_however_the_unknown_turns_out(
    ops: list[FilterSpec], facts: PageFacts, anon: bool, memcg: str, young: bool
) -> None:
    known = PageFacts(
        anon=anon if facts.anon is None else facts.anon,
        memcg=memcg if facts.memcg is None else facts.memcg,
        young=young if facts.young is None else facts.young,
    )
    if accepts_page(ops, facts):
        assert accepts_page(ops, known)
