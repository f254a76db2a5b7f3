# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of monitoring and acting from user space, on the host and in guests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tests.bench import accuracy as accurate
from tests.bench import guest, monitoring_cost, userspace_tables
from tests.bench import harm as harmful
from tests.bench import storms as stormy

Tell = Callable[[str], None]
Figures = list[dict[str, Any]]

PROBES = ("pte", "vma", "page_idle")
KINDS = ("anon", "thp", "shared")
GUEST_MONITORS = ("kernel DAMON", "pte", "vma")
OLDEST = "6.1"
"""It has no DAMON."""
_SECONDS, _QUICK_SECONDS = 40, 16
_GUEST_SECONDS = "32"
_SAVING_SECONDS = "45"


class Measure(Protocol):
    """A benchmark: a table, and every single value."""

    def __call__(
        self, runs: int, kernels: Sequence[str], *, quick: bool, tell: Tell
    ) -> tuple[str, object]: ...


def accuracy(runs: int, kernels: Sequence[str], *, quick: bool, tell: Tell) -> tuple[str, object]:
    """On the host by kind of memory; in guests beside kernel DAMON, on the same loads."""
    found: Figures = []
    for number in range(1 if quick else runs):
        for kind in KINDS[:1] if quick else KINDS:
            tell(f"accuracy: host, {kind}, run {number + 1}")
            seconds = _QUICK_SECONDS if quick else _SECONDS
            found += accurate.host(kind, seconds, PROBES)
    text = userspace_tables.accuracy(found)
    kept: dict[str, Figures] = {"host": found}
    for kernel in () if quick else kernels:
        mine = [
            one
            for _ in range(runs)
            for kind in KINDS[:2]
            for one in _guest_accuracy(kernel, kind, tell)
        ]
        kept[kernel] = mine
        text += f"\nKernel {kernel}, in one guest:\n\n{userspace_tables.accuracy(mine)}"
    return text, kept


def _guest_accuracy(kernel: str, kind: str, tell: Tell) -> Figures:
    words = (kind, _GUEST_SECONDS, *GUEST_MONITORS)
    return list(guest.measure(kernel, "accuracy", *words, tell=tell)["figures"])


def cost(runs: int, kernels: Sequence[str], *, quick: bool, tell: Tell) -> tuple[str, object]:
    """On the host only: time in emulated guests says nothing."""
    how = monitoring_cost.plan(runs, quick=quick)
    every = monitoring_cost.setups(quick=quick)
    found = list(monitoring_cost.run(every, PROBES[:2], how, tell))
    return userspace_tables.cost(found), found


def savings(runs: int, kernels: Sequence[str], *, quick: bool, tell: Tell) -> tuple[str, object]:
    """In guests only, each kernel with what it has, and the oldest in user space."""
    found: dict[str, Figures] = {}
    for kernel in dict.fromkeys((*kernels, OLDEST)) if kernels else ():
        own = () if kernel == OLDEST else ("kernel/auto",)
        words = (_SAVING_SECONDS, *own, "userspace/vma", "userspace/pte")
        found[kernel] = [
            dict(guest.measure(kernel, "savings", *words, tell=tell))
            for _ in range(1 if quick else runs)
        ]
    if not found:
        return "Needs guests.\n", {}
    return userspace_tables.savings(found), found


def storms(runs: int, kernels: Sequence[str], *, quick: bool, tell: Tell) -> tuple[str, object]:
    """On the host only, with the agent itself."""
    found: Figures = []
    for number in range(1 if quick else runs):
        for probe in PROBES[:2]:
            tell(f"storms: {probe}, run {number + 1}")
            found.append(stormy.measure(probe))
    return userspace_tables.storms(found), found


def harm(runs: int, kernels: Sequence[str], *, quick: bool, tell: Tell) -> tuple[str, object]:
    """On the host only, with swap made for it."""
    found: Figures = []
    for number in range(1 if quick else runs):
        tell(f"harm: run {number + 1}")
        found += harmful.measure()
    return userspace_tables.harm(found), found


MEASURES: dict[str, Measure] = {
    "accuracy": accuracy,
    "monitoring_cost": cost,
    "savings": savings,
    "storms": storms,
    "harm": harm,
}
