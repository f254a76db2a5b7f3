"""A pause by watermarks: what was not looked at meanwhile is not idle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from damos_agent.model.policy import Action, Mode, Watermarks
from tests.userspace.contexting import (
    BASE,
    MIB,
    FakeMachine,
    mapping_context,
    page_context,
    pageout,
    policy_of,
    run,
)

HOT = (BASE, BASE + 16 * MIB)
IDLE = (2 * BASE, 2 * BASE + 48 * MIB)
MARKS = Watermarks(1_000_000, high_permil=400, mid_permil=300, low_permil=100)


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(str(tmp_path))


def has_free(machine: FakeMachine, permil: int) -> None:
    machine.files["/proc/meminfo"] = f"MemTotal: 1000 kB\nMemFree: {permil} kB\nSwapFree: 1000 kB\n"


@pytest.mark.parametrize("make", [mapping_context, page_context])
@pytest.mark.parametrize("action", [Action.COLD, Action.PAGEOUT])
def test_after_a_pause_memory_in_use_is_left_alone(
    machine: FakeMachine, make: object, action: Action
) -> None:
    machine.add(areas=[HOT, IDLE], hot=[HOT])
    has_free(machine, 200)
    policy = policy_of(replace(pageout(), action=action, watermarks=MARKS), mode=Mode.ENFORCE)
    context = make(machine, policy)  # type: ignore[operator]
    run(machine, context, 40)
    acted = len(machine.calls)
    assert acted
    has_free(machine, 900)
    run(machine, context, 20)
    paused = len(machine.calls)
    has_free(machine, 200)
    for _ in range(40):
        run(machine, context, 0.5)
    on_hot = [call for call in machine.calls[paused:] if call[2][0] < HOT[1]]
    assert not on_hot


def test_after_a_pause_nothing_in_use_is_reported_as_matched(machine: FakeMachine) -> None:
    machine.add(areas=[HOT, IDLE], hot=[HOT])
    has_free(machine, 200)
    scheme = replace(pageout(), action=Action.STAT, watermarks=MARKS)
    context = mapping_context(machine, policy_of(scheme))
    run(machine, context, 40)
    has_free(machine, 900)
    run(machine, context, 20)
    has_free(machine, 200)
    for _ in range(40):
        run(machine, context, 0.5)
        assert context.schemes.states[0].tried_bytes <= 48 * MIB
        hot = [region for region in context.snapshot().regions if region.start < HOT[1]]
        assert all(region.nr_accesses or region.unknown for region in hot)
