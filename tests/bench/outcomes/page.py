# SPDX-License-Identifier: Apache-2.0
"""The page of figures: docs/benchmarks/outcomes.md. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from tests.bench.outcomes.aims import Aim, Contest, judge
from tests.bench.outcomes.catalogue import (
    NONE,
    ORDER,
    OURS,
    SEED,
    SEED_VARIANTS,
    SEED_WORKLOAD,
    VARIANTS,
    WORKLOADS,
)
from tests.bench.outcomes.results import Cell, Outcome, outcomes, overall
from tests.bench.spread import Spread
from tests.bench.tables import table

HEAD = (
    *("variant", "n", "runtime", "worst phase", "RSS", "gross saved", "net saved"),
    *("cold reclaimed", "refaults anon", "refaults file", "CPU"),
)


@dataclass(frozen=True, slots=True)
class Made:
    """How, when and for how long the cells were measured, and of which commit the agent was."""

    command: str
    share: str
    date: str
    revision: str
    kernel: str
    seconds: float


def page(cells: Sequence[Cell], made: Made) -> str:
    """Everything, in Markdown."""
    found = outcomes(cells)
    judged = [one for one in found if one.workload != SEED]
    parts = [_INTRODUCTION.format(**_words(made))]
    parts.append(f"## Aims\n\n{aims(judge(judged, _contest()))}")
    parts.append(f"## All workloads\n\n{_OVERALL}\n{means(judged)}\n![{_ALT}](outcomes.svg)\n")
    for workload in WORKLOADS:
        if rows := [one for one in judged if one.workload == workload.name]:
            text = f"{_sentence(workload.text)} {_effort(cells, workload.name)}"
            parts.append(f"## {workload.name}\n\n{text}\n\n{rows_of(rows)}")
    if rows := [one for one in found if one.workload == SEED]:
        parts.append(f"## The seed's table\n\n{_seed()}\n\n{rows_of(rows)}")
    return "\n".join(parts)


def _contest() -> Contest:
    rivals = [one.name for one in VARIANTS if one.name not in (OURS, NONE)]
    return Contest(OURS, rivals, [one.name for one in WORKLOADS])


def _words(made: Made) -> dict[str, str]:
    variants = "\n".join(f"- *{one.name}*: {one.text}" for one in VARIANTS)
    return {
        "command": made.command,
        "share": made.share,
        "date": made.date,
        "revision": made.revision,
        "kernel": made.kernel,
        "seconds": f"{made.seconds:g}",
        "variants": variants,
    }


def aims(found: Sequence[Aim]) -> str:
    words = {True: "met", False: "**missed**", None: "open"}
    return table(
        ("aim", "", "measured"), [(one.text, words[one.met], one.measured) for one in found]
    )


def means(found: Sequence[Outcome]) -> str:
    rows = []
    for variant in VARIANTS:
        if one := overall(found, variant.name):
            cold = [o.cold.median for o in found if o.variant == variant.name and o.cold]
            rows.append(
                (
                    *(one.variant, str(one.workloads), f"{one.runtime:+.2f} %"),
                    *(f"{one.runtime_worst:+.2f} %", f"{one.net_share:.1f} %"),
                    *(f"{fmean(cold):.0f} %" if cold else "", f"{one.cpu:.2f} %"),
                )
            )
    head = ("variant", "workloads", "runtime", "worst run", "net saved", "cold reclaimed", "CPU")
    return table(head, rows)


def rows_of(found: Sequence[Outcome]) -> str:
    """The table of one workload."""
    return table(HEAD, _rows(found))


def _rows(found: Sequence[Outcome]) -> Iterator[tuple[str, ...]]:
    for one in sorted(found, key=lambda one: ORDER.index(one.variant)):
        yield (
            *(one.variant, str(one.runs), told(one.runtime, 2, sign="+")),
            *(told(one.worst_phase, 1, sign="+"), told(one.rss, 1)),
            *(told(one.gross, 0), told(one.net, 0)),
            told(one.cold, 0) if one.cold else "",
            *(told(one.refaults_anon, 0), told(one.refaults_file, 0), told(one.cpu, 2)),
        )


def told(figure: Spread, digits: int, sign: str = "") -> str:
    """`12.3 % (11.9 to 14.0)`; no spread where all values look the same."""

    def show(value: float) -> str:
        text = f"{value:{sign}.{digits}f}"
        # No minus before nothing.
        return text if float(text) else f"{0:{sign}.{digits}f}"

    low, high = show(min(figure.values)), show(max(figure.values))
    middle = f"{show(figure.median)} {figure.unit}".strip()
    return middle if low == high else f"{middle} ({low} to {high})"


def _effort(cells: Sequence[Cell], workload: str) -> str:
    mine = [c for c in cells if c.workload == workload and c.variant == NONE]
    work_s, whole_s = (
        median(values)
        for values in ([c.runtime_s for c in mine], [c.figures["elapsed_s"] for c in mine])
    )
    return f"Its work takes {work_s:.0f} s of {whole_s:.0f}."


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _seed() -> str:
    rows = "; ".join(f"*{one.name}*: {one.text}" for one in SEED_VARIANTS)
    return f"{_sentence(SEED_WORKLOAD.text)} All by damos-agent. {_sentence(rows)}"


_ALT = "Pareto plots: runtime against net memory saved, in all workloads and in each"
_OVERALL = """\
Each workload counts the same. *Worst run* is the slowest of all runs of all workloads.
"""
_INTRODUCTION = """\
# Outcomes: what reclaim is worth, and what it costs

Made by `{command}` on {date}: {share} runs so far; [every value](outcomes.json).
Linux {kernel} in guests in virtual time (an instruction is two nanoseconds, so that other work on
the machine changes nothing): one processor, 2 GiB, swap on zram with lz4, transparent huge pages
and the multi-gen LRU as Debian ships them, DAMON_STAT off. Each run has a guest of its own and
lasts {seconds} s; reclaim begins before it, and its start-up is not counted. Figures are medians,
with lowest and highest of n runs.

- *Runtime*: each workload does a fixed amount of work in small steps, some fifty a second, with
  pauses. This is the time of the work alone, beside that of *none*. With pauses counted the shares
  would be many times less. There is one processor: what a kdamond takes of it while there is work
  adds to this.
- *Worst phase*: the tenth of the work that suffered most, beside the same tenth of *none*.
- *RSS*: mean over the run, in percent of that of *none*.
- *Gross saved*: resident memory less than that of *none*, mean over the run. *Net saved*: gross,
  less what zram took more, less the memory (PSS) of the agent or senpai.
- *Cold reclaimed*: of the memory that is known to be never touched again, the share that is not
  resident in the end. Where addresses are not known (redis) it is what is swapped, at most all.
- *CPU*: of kdamonds and of the agent or senpai, in percent of the one core.

{variants}

damo and senpai are told the very processes or groups, the agent the group above them; DAMON_RECLAIM
looks at all memory. The agent is of commit {revision}.
"""
