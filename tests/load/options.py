# SPDX-License-Identifier: Apache-2.0
"""The command line of a worker."""

from __future__ import annotations

import argparse

from tests.load.memory import KINDS, Spec
from tests.load.spelling import number, parse


def parser() -> argparse.ArgumentParser:
    """All that `python -m tests.load` understands."""
    made = argparse.ArgumentParser("python -m tests.load", description=__doc__)
    made.add_argument("layout", type=parse, help="HotCold:total=64M,hot_start=16M,hot_bytes=8M")
    _add_memory(made)
    _add_touching(made)
    _add_stress(made)
    return made


def _add_memory(made: argparse.ArgumentParser) -> None:
    made.add_argument("--kind", choices=KINDS, default="anon")
    made.add_argument("--file", default="", help="of shared and private kind; else a memfd")
    made.add_argument("--gap", type=number, default=0, help="bytes between parts; 0: one mapping")
    made.add_argument("--hole", action="store_true", help="gaps are not mapped at all")
    made.add_argument("--mlock", action="store_true")


def _add_touching(made: argparse.ArgumentParser) -> None:
    made.add_argument("--write", action="store_true", help="write one byte per page, else read")
    made.add_argument("--pause", type=float, default=0.02, help="seconds between rounds")
    made.add_argument(
        "--flush",
        action="store_true",
        help="empty the TLB after each round: what stays in it shows no access",
    )
    made.add_argument("--seconds", type=float, default=float("inf"), help="end after that time")
    made.add_argument(
        "--stepped", action="store_true", help="do N rounds for each line N on standard input"
    )
    made.add_argument("--report", default="", help="append progress to this file; -: print it")
    made.add_argument("--report-every", type=float, default=1.0, help="seconds")
    made.add_argument("--mmap-latency", action="store_true", help="measure it for the report")


def _add_stress(made: argparse.ArgumentParser) -> None:
    made.add_argument("--sharers", type=int, default=0, help="children that map the same pages")
    made.add_argument("--fork-storm", type=int, default=0, help="short children, one per round")
    made.add_argument("--mappings", type=int, default=0, help="further mappings of one page")
    made.add_argument("--exec-after", type=float, default=0.0, help="start over after seconds")


def spec(options: argparse.Namespace) -> Spec:
    """The memory that was asked for."""
    return Spec(options.kind, options.gap, options.hole, options.mlock, options.file)
