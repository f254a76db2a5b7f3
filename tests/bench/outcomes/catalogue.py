# SPDX-License-Identifier: Apache-2.0
"""What is measured: workloads, variants, and the figures that each is held to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

POLICY: Final = "policies/proactive-reclaim.yaml"
"""The default policy, as it is shipped: only its target and its mode are edited."""
NONE: Final = "none"
OURS: Final = "ours"
SECONDS: Final = 300.0
SEED: Final = "seed"
"""The workload of the seed's table: 600 MiB in six phases, two rounds, no pause."""


@dataclass(frozen=True, slots=True)
class Member:
    """One process of a workload: its program, and the most memory its control group gets."""

    program: str
    limit_mib: int | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """Processes that run at the same time, each in a control group of its own."""

    name: str
    text: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to reclaim; how it is started is in variants.py."""

    name: str
    text: str


WORKLOADS: Final = (
    Workload(
        "cyclic",
        "384 MiB in six parts, each in use for 5 s of 30: nothing is cold for long",
        (Member("cyclic"),),
    ),
    Workload("hotcold", "64 MiB in use, 320 MiB written once", (Member("hotcold"),)),
    Workload(
        "growth",
        "grows from 32 to 320 MiB in the first two fifths; its first 32 and its newest 64 MiB "
        "are in use, the rest never again",
        (Member("growth"),),
    ),
    Workload(
        "streaming",
        "48 MiB in use, and a mapped file of 320 MiB read from end to end every 100 s",
        (Member("streaming"),),
    ),
    Workload(
        "shift",
        "32 MiB always in use, 96 MiB in the first half and another 96 MiB in the second, "
        "96 MiB never",
        (Member("shift"),),
    ),
    Workload(
        "squeezed",
        "two control groups: one with 64 MiB in use and 128 MiB cold, and one that needs "
        "140 MiB and may have 112",
        (Member("roomy"), Member("tight", limit_mib=112)),
    ),
    Workload(
        "redis",
        "redis-server with 60 000 values of 4 KiB, of which a fifth is asked for, skewed",
        (Member("redis"),),
    ),
    Workload(
        "numpy",
        "a Python job: a table of 192 MiB is loaded, 48 MiB made of it are worked on",
        (Member("numpy"),),
    ),
)
SEED_WORKLOAD: Final = Workload(
    SEED, "600 MiB in six phases, two rounds, no pause", (Member(SEED),)
)

VARIANTS: Final = (
    Variant(NONE, "no reclaim but the kernel's own"),
    Variant("damo pageout", "damo 3.4.3: pageout of what is idle for 5 s"),
    Variant("damo quota", "the same, at most 100 ms and 50 MiB per second"),
    Variant("damo PSI", "the same, with goal some_mem_psi_us 10000"),
    Variant(
        "DAMON_RECLAIM",
        "the kernel's module by its defaults, but quota_mem_pressure_us 1000 and no watermarks",
    ),
    Variant(
        "senpai",
        "memory.reclaim of 0.0005 of what is there every 6 s, less as PSI comes to 0.1 %",
    ),
    Variant(OURS, f"damos-agent with {POLICY}"),
)
SEED_VARIANTS: Final = (
    Variant(NONE, "baseline"),
    Variant("seed pageout", "pageout of what is idle for 5 s"),
    Variant("seed quota", "+ quota of 100 ms and 50 MiB per second"),
    Variant("seed goal", "+ goal memory_psi_some 1 %"),
    Variant(OURS, "the shipped default"),
)

ORDER: Final = (
    *(one.name for one in VARIANTS if one.name != OURS),
    *(one.name for one in SEED_VARIANTS if one.name not in (NONE, OURS)),
    OURS,
)
"""In which variants are listed."""


def workload(name: str) -> Workload:
    """Raises KeyError."""
    return {one.name: one for one in (*WORKLOADS, SEED_WORKLOAD)}[name]
