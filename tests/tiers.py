# SPDX-License-Identifier: Apache-2.0
"""Runs tiers of tests and judges them: `python -m tests.tiers unit lab`.

A tier that ran nothing has failed, and in the lab so has a skip: the tests are there to run on real
kernels, so each kernel must have run some, and only what a kernel is too old for may be left out.

The unit tests go first and alone, since some measure what is going on. Then the lab, in two parts
beside each other, since a guest keeps one core busy. `idle` are the tests on a kernel that must be
built first.
"""

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
PARALLEL = 2


@dataclass(frozen=True, slots=True)
class Part:
    """What one pytest runs; `kernels` must have run some of it."""

    options: tuple[str, ...]
    kernels: tuple[str, ...] = ()
    alone: bool = False


NEWEST = "7.3"
IDLE = "7.3-idle"
_LAB = "lab and not idle_kernel"
PARTS = {
    "unit": Part(("-m", "not lab"), alone=True),
    "lab 7.3": Part(("-m", _LAB, "-p", "tests.lab_part", "--lab-part", NEWEST), (NEWEST,)),
    "lab others": Part(
        ("-m", _LAB, "-p", "tests.lab_part", "--lab-part", f"not {NEWEST}"), ("6.1", "6.12")
    ),
    "idle": Part(("-m", "idle_kernel"), (IDLE,)),
}
"""In the order in which they are begun."""

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
    """A tier that has run; `closing` is pytest's last line, `complaints` what is wrong."""

    tier: str
    seconds: float
    closing: str
    complaints: tuple[str, ...]


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
    if kernels := PARTS[tier].kernels:
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


@dataclass(slots=True)
class Running:
    """A tier's pytest, its output going to `log`."""

    tier: str
    process: subprocess.Popen[bytes]
    log: Path
    junit: Path
    began: float
    shown: int = 0

    def show(self) -> None:
        """Print what is new in its output."""
        with self.log.open("rb") as log:
            log.seek(self.shown)
            fresh = log.read()
        if not self.shown and fresh:
            sys.stdout.write(f"==== {self.tier}\n")
        self.shown += len(fresh)
        sys.stdout.write(fresh.decode("utf-8", "replace"))
        sys.stdout.flush()

    def verdict(self) -> Verdict:
        """After its end."""
        seconds = time.monotonic() - self.began
        cases = parse_junit(self.junit.read_text("utf-8")) if self.junit.exists() else ()
        lines = self.log.read_text("utf-8", "replace").split("\n")
        closing = next((line for line in reversed(lines) if line.strip()), "")
        return Verdict(
            self.tier, seconds, closing, complaints(self.tier, self.process.returncode, cases)
        )


def start(tier: str, directory: Path, options: Sequence[str]) -> Running:
    """Start pytest on that tier."""
    name = tier.replace(" ", "-")
    log, junit = directory / f"{name}.log", directory / f"{name}.xml"
    command = [sys.executable, "-u", "-m", "pytest", *PARTS[tier].options, f"--junitxml={junit}"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "-o", f"cache_dir=.pytest_cache/{name}", *options],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    return Running(tier, process, log, junit, time.monotonic())


def run_all(tiers: Sequence[str], directory: Path, options: Sequence[str]) -> list[Verdict]:
    """Run them, a few at a time, showing the output of one after the other."""
    running: list[Running] = []
    verdicts: dict[str, Verdict] = {}
    shown = 0
    try:
        while shown < len(tiers):
            for one in running:
                if one.tier not in verdicts and one.process.poll() is not None:
                    verdicts[one.tier] = one.verdict()
            while len(running) < len(tiers) and may_begin(
                [one.tier for one in running if one.tier not in verdicts]
            ):
                running.append(start(tiers[len(running)], directory, options))
            one = running[shown]
            one.show()
            shown += one.tier in verdicts
            time.sleep(0.5)
    finally:
        for one in running:
            one.process.kill()
            one.process.wait()
    return [verdicts[tier] for tier in tiers]


def may_begin(now: Sequence[str]) -> bool:
    """Whether another tier may be begun beside those that run now."""
    return len(now) < PARALLEL and not any(PARTS[tier].alone for tier in now)


def report(verdicts: Sequence[Verdict]) -> str:
    """Times and complaints, then the closing lines of pytest."""
    lines = ["==== tiers"]
    for one in verdicts:
        lines.append(f"{one.tier:12}{one.seconds:6.0f} s  {'FAILED' if one.complaints else 'ok'}")
        lines += [f"      {text}" for text in one.complaints]
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
    chosen = [word for word in arguments if word in ("unit", "lab", "idle")]
    options = [word for word in arguments if word not in chosen]
    tiers = [tier for tier in PARTS if tier.split()[0] in chosen]
    if set(chosen) - {"unit"} and (obstacle := lab_obstacle()):
        sys.stderr.write(f"The tests on real kernels cannot run here: {obstacle}\n")
        sys.stderr.write("`make test-unit` runs those that need neither root nor a guest.\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="damos-tiers-") as name:
        verdicts = run_all(tiers, Path(name), options)
    sys.stdout.write(report(verdicts))
    return 1 if any(one.complaints for one in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
