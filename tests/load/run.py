# SPDX-License-Identifier: Apache-2.0
"""Loads for tests: `with start(layout, "thp", "--write") as load: ...`.

A load ends with the thread that started it, at the latest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.load.libc import die_with, fix_addresses
from tests.load.load import Load, read_line
from tests.load.spelling import spell
from tests.load.truth import Layout

PROJECT = Path(__file__).parents[2]


@contextmanager
def start(
    layout: Layout, kind: str = "anon", *options: str, every_s: float = 0.2
) -> Iterator[Load]:
    """A load once all its memory is resident, reporting every `every_s`; killed at the end."""
    with tempfile.TemporaryDirectory(prefix="load-") as name:
        report = Path(name, "report")
        words = [spell(layout), "--kind", kind, "--report", str(report)]
        process = _started([*words, "--report-every", str(every_s), *options])
        try:
            yield Load(process, layout, report, read_line(process))
        finally:
            process.kill()
            process.communicate()


@contextmanager
def start_many(
    count: int, layout: Layout, kind: str = "anon", *options: str
) -> Iterator[list[Load]]:
    """That many alike, each with memory of its own, or of one file with `--file`."""
    with ExitStack() as stack:
        yield [stack.enter_context(start(layout, kind, *options)) for _ in range(count)]


def _prepare(parent: int) -> None:
    die_with(parent)
    fix_addresses()


def _started(words: list[str]) -> subprocess.Popen[str]:
    # Without site (-S) it starts faster, which counts in emulated guests.
    return subprocess.Popen(
        [sys.executable, "-S", "-m", "tests.load", *words],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=partial(_prepare, os.getpid()),
    )
