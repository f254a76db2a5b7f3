# SPDX-License-Identifier: Apache-2.0
"""Runs tiers of tests and judges them: `python -m tests.tiers unit lab`.

A tier that ran nothing has failed, and in the lab so has a skip: the tests are there to run on real
kernels, so each kernel must have run some, and only what a kernel is too old for may be left out.

What the kernel samples is random, and so is what it does with it. Up to three tests of the lab that
failed get a second go, in a fresh guest; those that pass then are named at the end, with the output
of their first go above. A failure that is no chance fails again.

One after the other, the unit tests first: some measure what is going on. In the lab several guests
run at once (tests/vm/plugin.py). `idle` are the tests on a kernel that must be built first.
"""

import codecs
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

PROJECT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Tier:
    """What one pytest runs; `kernels` must each have run some of it."""

    options: tuple[str, ...]
    kernels: tuple[str, ...] = ()


TIERS = {
    "unit": Tier(("-m", "not lab")),
    "lab": Tier(("-m", "lab and not idle_kernel"), ("6.1", "6.12", "7.3")),
    "idle": Tier(("-m", "idle_kernel"), ("7.3-idle",)),
}
"""In the order in which they are run."""

_CLOSING_LENGTH = 4096
_SECOND_GO_MOST = 3
_SOME_FAILED = 1
"""pytest's return code: it ran to its end, and tests have failed."""

# pytest closes the name of a parametrized one twice
_KERNEL = re.compile(r"@(\d+)\.(\d+)(-\w+)?\]?$")
_TOO_OLD = re.compile(r"since (\d+)\.(\d+)$")


@dataclass(frozen=True, slots=True)
class Case:
    """One test: `outcome` passed, failed or skipped, and why it was skipped."""

    name: str
    outcome: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A tier that has run; `closing` is pytest's last line, `complaints` what is wrong.

    `second_go`: tests that passed only then.
    """

    tier: str
    seconds: float
    closing: str
    complaints: tuple[str, ...]
    second_go: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Go:
    """What one pytest came to."""

    returncode: int
    closing: str
    cases: tuple[Case, ...]

    @property
    def failed(self) -> frozenset[str]:
        """Names of tests."""
        return frozenset(case.name for case in self.cases if case.outcome == "failed")


def parse_junit(text: str) -> tuple[Case, ...]:
    """The tests of a JUnit file as pytest writes it."""
    return tuple(_case(element) for element in ET.fromstring(text).iter("testcase"))


def _case(element: ET.Element) -> Case:
    name = f"{element.get('classname', '')}::{element.get('name', '')}"
    skipped = element.find("skipped")
    if skipped is not None:
        return Case(name, "skipped", skipped.get("message", ""))
    bad = element.find("failure") is not None or element.find("error") is not None
    return Case(name, "failed" if bad else "passed")


def complaints(tier: str, returncode: int, cases: Sequence[Case]) -> tuple[str, ...]:
    """Why the tier counts as failed; nothing if it does not."""
    found = [f"pytest ended with {returncode}"] if returncode else []
    if not any(case.outcome == "passed" for case in cases):
        found.append("no test passed")
    if kernels := TIERS[tier].kernels:
        found += _lab_complaints(kernels, cases)
    return tuple(found)


def _lab_complaints(kernels: Sequence[str], cases: Sequence[Case]) -> Iterator[str]:
    ran = Counter(_series(case.name) for case in cases if case.outcome == "passed")
    for kernel in kernels:
        if not ran[kernel]:
            yield f"nothing ran on kernel {kernel}"
    for case in cases:
        if case.outcome == "skipped" and not _too_old(case):
            yield f"skipped: {case.name}: {case.reason}"


def _series(name: str) -> str:
    found = _KERNEL.search(name)
    return f"{found[1]}.{found[2]}{found[3] or ''}" if found else ""


def _too_old(case: Case) -> bool:
    """Whether the test says that it is for later kernels than the one it was to run on."""
    kernel, since = _KERNEL.search(case.name), _TOO_OLD.search(case.reason)
    if kernel is None or since is None:
        return False
    return (int(kernel[1]), int(kernel[2])) < (int(since[1]), int(since[2]))


def deserves_second_go(tier: str, go: Go) -> bool:
    """Whether so little failed, in the lab, that it may have been chance."""
    in_lab = bool(TIERS[tier].kernels)
    return in_lab and go.returncode == _SOME_FAILED and 0 < len(go.failed) <= _SECOND_GO_MOST


def after_second_go(first: Go, second: Go) -> Go:
    """The tests that failed at first are judged by the second, if that has run all of them."""
    again = {case.name: case for case in second.cases}
    if not first.failed <= set(again):
        return first
    cases = tuple(again.get(case.name, case) for case in first.cases)
    return Go(second.returncode, first.closing, cases)


def run(tier: str, directory: Path, options: Sequence[str]) -> Verdict:
    """Run pytest on that tier, and once more on what may have failed by chance."""
    began = time.monotonic()
    sys.stdout.write(f"==== {tier}\n")
    go = first = _pytest(tier, directory / f"{tier}.xml", options)
    if deserves_second_go(tier, first):
        sys.stdout.write(f"==== {tier}: what failed, once more\n")
        failed = ("--last-failed", "--last-failed-no-failures=none")
        second = _pytest(tier, directory / f"{tier}-again.xml", (*options, *failed))
        go = after_second_go(first, second)
    seconds = time.monotonic() - began
    found = complaints(tier, go.returncode, go.cases)
    return Verdict(tier, seconds, first.closing, found, tuple(sorted(first.failed - go.failed)))


def _pytest(tier: str, junit: Path, options: Sequence[str]) -> Go:
    """Its output goes to ours as it comes."""
    command = [sys.executable, "-u", "-m", "pytest", *TIERS[tier].options, f"--junitxml={junit}"]
    closing = ""
    with subprocess.Popen(
        [*command, *options],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while chunk := os.read(process.stdout.fileno(), 65536):
            text = decoder.decode(chunk)
            sys.stdout.write(text)
            sys.stdout.flush()
            closing = (closing + text)[-_CLOSING_LENGTH:]
    cases = parse_junit(junit.read_text("utf-8")) if junit.exists() else ()
    lines = closing.strip().splitlines() or [""]
    return Go(process.returncode, lines[-1], cases)


def report(verdicts: Sequence[Verdict]) -> str:
    """Times and complaints, then the closing lines of pytest."""
    lines = ["==== tiers"]
    for one in verdicts:
        lines.append(f"{one.tier:12}{one.seconds:6.0f} s  {'FAILED' if one.complaints else 'ok'}")
        lines += [f"      {text}" for text in one.complaints]
        lines += [f"      passed at the second go only: {name}" for name in one.second_go]
    return "\n".join([*lines, *(one.closing for one in verdicts)]) + "\n"


def lab_obstacle() -> str:
    """What keeps this machine from running guests; "" if nothing does. Installs packages."""
    from tests.vm.errors import LabError
    from tests.vm.host import ensure_host_packages, require_root

    try:
        require_root()
        ensure_host_packages()
    except LabError as error:
        return str(error)
    return ""


def main(arguments: list[str]) -> int:
    """`unit`, `lab` and `idle`, in any choice; further options are pytest's."""
    chosen = [word for word in arguments if word in TIERS]
    options = [word for word in arguments if word not in chosen]
    tiers = [tier for tier in TIERS if tier in chosen]
    if set(chosen) - {"unit"} and (obstacle := lab_obstacle()):
        sys.stderr.write(f"The tests on real kernels cannot run here: {obstacle}\n")
        sys.stderr.write("`make test-unit` runs those that need neither root nor a guest.\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="damos-tiers-") as name:
        verdicts = [run(tier, Path(name), options) for tier in tiers]
    sys.stdout.write(report(verdicts))
    return 1 if any(one.complaints for one in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
