"""The prose of the reference pages, and what the kernel can do where."""

from __future__ import annotations

from typing import Final

from damos_agent.model.policy import Action

INTRODUCTION: Final = """# Policy reference

A policy is one YAML file with one document. Its words are DAMON's own; `Kernel file` names the
file below the context, the scheme or the quota in `/sys/kernel/mm/damon/admin` that a value ends
up in, `Since` the first Linux release that has it. Kernels that lack something a policy needs
report that policy as unsupported; nothing is left out silently.

**Quantities have units.** Times: `us`, `ms`, `s`, `m` (or `min`), `h`, `d`. Sizes: `B`, `KiB`,
`MiB`, `GiB`, `TiB`; `K`, `M`, `G` are refused, for they mean 1000 to some and 1024 to others.
Shares: `5%`, down to `0.01%`. Rates: `0.2%/min`. Upper bounds may be `max`. Weights and counts are
plain numbers.

**The YAML is strict.** No tags, anchors or aliases, no key twice, no empty values, no second
document, no more than 256 KiB. A word that YAML 1.1 and 1.2 read differently (`on`, `yes`, `010`,
`0x10`, `12:30`, `1_000`, `1e3`, `1.5`, dates) must be quoted if text is meant. Every fault has a
code: see [findings.md](findings.md).

**Where files lie.** `/etc`, `/run`, `/usr/local/lib`, `/usr/lib`, each with
`damos-agent/policies.d/*.yaml`. A file replaces those of the same name in later directories; a link
to `/dev/null` or an empty file masks them. `metadata.name` must be unique.

**How values become counts.** An access rate of *r* is *r* times
(aggregation_interval / sampling_interval) samples, a lower bound rounded up, an upper bound down;
an age is a number of aggregation intervals, rounded likewise.
"""

# Who can do an action, under a quota what comes first, since which kernel, and what it is.
_ACTIONS: Final = {
    Action.STAT: ("processes, physical", "address order", "5.18", "counts, does nothing"),
    Action.PAGEOUT: ("processes, physical", "coldest first", "5.18", "reclaims (MADV_PAGEOUT)"),
    Action.COLD: ("processes", "address order", "5.18", "marks as cold (MADV_COLD)"),
    Action.WILLNEED: ("processes", "address order", "5.18", "reads ahead (MADV_WILLNEED)"),
    Action.HUGEPAGE: ("processes", "address order", "5.18", "permits THP (MADV_HUGEPAGE)"),
    Action.NOHUGEPAGE: ("processes", "address order", "5.18", "forbids THP (MADV_NOHUGEPAGE)"),
    Action.COLLAPSE: ("processes", "address order", "7.2", "makes THP at once (MADV_COLLAPSE)"),
    Action.LRU_PRIO: ("physical", "hottest first", "6.0", "moves up the LRU lists"),
    Action.LRU_DEPRIO: ("physical", "coldest first", "6.0", "moves down the LRU lists"),
    Action.MIGRATE_HOT: (
        "physical; processes from 6.17",
        "hottest first",
        "6.11",
        "moves to other nodes",
    ),
    Action.MIGRATE_COLD: (
        "physical; processes from 6.17",
        "coldest first",
        "6.11",
        "moves to other nodes",
    ),
}


def action_table() -> str:
    """All actions, as a Markdown table."""
    rows = [
        f"| `{action}` | {what} | {targets} | {order} | Linux {since} |"
        for action, (targets, order, since, what) in _ACTIONS.items()
    ]
    head = "## Actions\n\n| Action | What it does | Targets | Under a quota | Since |"
    return "\n".join([head, "|---|---|---|---|---|", *rows, ""])


FILTERS: Final = """## Filters, by example

    filters:
      - reject: anon                                    # spare anonymous pages
      - reject: {memcg: /system.slice/db.service}       # spare pages of exactly this group
      - allow: {hugepage_size: {min: 2MiB, max: 2MiB}}  # only huge pages ...
      - allow: {not: active}                            # ... and pages not on an active list
      - reject: {not: {addr: {start: 4GiB, end: 8GiB}}} # nothing outside this range

The first filter that catches a page or region decides. If none does, memory is accepted, unless
the list ends in an `allow` filter: then it is rejected. `addr` and `target` look at regions and
cost nothing; the others look at every page, and what they reject still counts against the quota.
For processes the kernel honours page filters only with `migrate_hot`, `migrate_cold` and `stat`;
with any other action they are an error here, because the kernel would ignore them.
"""

GOALS: Final = """## Goals, by example

    quota:
      size: 1GiB        # a goal needs a cap: size, time or both
      interval: 1s
      goals:
        - memory_psi_some: 1%
        - node_mem_used: {target: 95%, node: 0}
        - node_memcg_used: {target: 40%, node: 0, cgroup: /system.slice/db.service}
        - user_input: {target: 10000, current: 5000}
        - {metric: memory_psi_some, target: 1%}   # the long form of the first

The kernel raises the effective quota while a goal is not met and lowers it when it is exceeded.
Metrics without a kernel file are accepted, but the policy is reported as unsupported until the
agent measures them itself.
"""

FINDINGS_INTRODUCTION: Final = """# Findings

Every finding has a code that never changes its meaning, a place (file:line:column), a message and
usually a hint. An **error** rejects the file it is in, and no other; the last good version of that
policy keeps running. A **warning** does not reject; a **note** only informs. Codes below DA020 are
about YAML, below DA040 about shape and words, below DA100 about sense, from DA100 on about files
and how they fit together.
"""
