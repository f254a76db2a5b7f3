"""Sense of `spec.monitoring` and `spec.target`. Pure; bounds as the kernel checks them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from damos_agent.config.document import Loc
from damos_agent.config.issue import Issue
from damos_agent.model.policy import (
    AddressRange,
    IntervalsGoal,
    Monitoring,
    PhysicalTarget,
    PidTarget,
    Target,
    Userspace,
)
from damos_agent.model.units import format_duration

_AT: Final[Loc] = ("spec", "monitoring")
_MOST_SAMPLES: Final = 255
_LEAST_REGIONS: Final = 3
_LONGEST_SLEEP_US: Final = 71 * 60_000_000
"""mm/damon/core.c: kdamond_usleep() sleeps usecs_to_jiffies(), which takes 32 bits, 71m34s."""
_DEFAULTS: Final = Monitoring()


def check_monitoring(monitoring: Monitoring) -> Iterator[Issue]:
    """Intervals and regions (mm/damon/core.c, damon_set_attrs)."""
    sample, aggr = monitoring.sample_us, monitoring.aggr_us
    named = {"sampling_interval": sample, "aggregation_interval": aggr}
    named["update_interval"] = monitoring.update_us
    zero = [name for name, value in named.items() if value == 0]
    for name in zero:
        yield Issue("DA044", (*_AT, name), f"{name} is zero", "1ms or longer")
    yield from check_sleep(sample, (*_AT, "sampling_interval"))
    if not zero and sample > aggr:
        message = f"sampling_interval {format_duration(sample)} is longer than "
        message += f"aggregation_interval {format_duration(aggr)}"
        where = "sampling_interval" if sample != _DEFAULTS.sample_us else "aggregation_interval"
        yield Issue("DA041", (*_AT, where), message, "swap the two?")
    elif sample and aggr // sample > _MOST_SAMPLES:
        message = f"{aggr // sample} samples per aggregation, more than {_MOST_SAMPLES}"
        yield Issue("DA043", (*_AT, "aggregation_interval"), message)
    yield from _check_regions(monitoring)
    if monitoring.intervals_goal is not None:
        yield from _check_goal(monitoring.intervals_goal, sample)
    yield from _check_userspace(monitoring.userspace)


def check_sleep(interval_us: int, at: Loc) -> Iterator[Issue]:
    """An interval that a kdamond sleeps at one go; longer ones wrap, down to none at all."""
    if interval_us > _LONGEST_SLEEP_US:
        message = f"{at[-1]} {format_duration(interval_us)} does not fit the kernel's 32 bits "
        message += "of microseconds: it would be cut to a shorter one"
        yield Issue("DA027", at, message, f"{format_duration(_LONGEST_SLEEP_US)} at most")


def _check_userspace(userspace: Userspace) -> Iterator[Issue]:
    at: Loc = (*_AT, "userspace")
    if userspace.cpu_bp == 0:
        yield Issue("DA034", (*at, "cpu"), "cpu is zero: nothing would be looked at", "write 1%")
    if userspace.stall_us == 0:
        yield Issue("DA044", (*at, "stall"), "stall is zero", "write 20ms")


def _check_regions(monitoring: Monitoring) -> Iterator[Issue]:
    least, most = monitoring.min_regions, monitoring.max_regions
    if least < _LEAST_REGIONS:
        message = f"min_regions is {least}, less than {_LEAST_REGIONS}"
        yield Issue("DA042", (*_AT, "min_regions"), message, "write 10, the kernel's default")
    elif least > most:
        message = f"min_regions {least} is greater than max_regions {most}"
        where = "min_regions" if least != _DEFAULTS.min_regions else "max_regions"
        yield Issue("DA040", (*_AT, where), message, "swap the two?")


def _check_goal(goal: IntervalsGoal, sample_us: int) -> Iterator[Issue]:
    at: Loc = (*_AT, "intervals_goal")
    least, most = goal.min_sample_us, goal.max_sample_us
    if goal.aggrs == 0 or goal.access_bp == 0:
        name = "aggregations" if goal.aggrs == 0 else "access"
        yield Issue("DA045", (*at, name), f"{name} is zero: nothing would be tuned", "remove it")
    if least == 0:
        name = "min_sampling_interval"
        yield Issue("DA044", (*at, name), f"{name} is zero", "1ms or longer")
    yield from check_sleep(most, (*at, "max_sampling_interval"))
    if least > most:
        message = f"min_sampling_interval {format_duration(least)} is greater than "
        message += f"max_sampling_interval {format_duration(most)}"
        yield Issue("DA040", (*at, "min_sampling_interval"), message, "swap the two?")
    elif not least <= sample_us <= most:
        message = f"sampling_interval {format_duration(sample_us)} is not between "
        message += f"{format_duration(least)} and {format_duration(most)}"
        yield Issue("DA045", at, message, "start within the bounds")


def check_target(target: Target) -> Iterator[Issue]:
    """Ranges that are ranges, and processes named once."""
    if isinstance(target, PhysicalTarget):
        yield from check_ranges(target.ranges, ("spec", "target", "physical", "ranges"))
    elif isinstance(target, PidTarget) and len(set(target.pids)) < len(target.pids):
        twice = next(pid for pid in target.pids if target.pids.count(pid) > 1)
        index = len(target.pids) - 1 - target.pids[::-1].index(twice)
        loc = ("spec", "target", "pids", index)
        yield Issue("DA096", loc, f"process {twice} is listed twice", "remove one")


def check_ranges(ranges: tuple[AddressRange, ...], at: Loc) -> Iterator[Issue]:
    """Half-open, ascending, without overlap."""
    before = 0
    for index, item in enumerate(ranges):
        if item.start >= item.end:
            message = f"the range ends ({item.end:#x}) before or where it starts ({item.start:#x})"
            yield Issue("DA093", (*at, index, "start"), message, "swap the two?")
        elif item.start < before:
            message = f"the range starts ({item.start:#x}) before the one above ends ({before:#x})"
            yield Issue("DA093", (*at, index, "start"), message)
        before = max(before, item.end)
