# SPDX-License-Identifier: Apache-2.0
"""A tier that did not run what it should counts as failed."""

from pathlib import Path

import pytest

from tests.tiers import (
    Case,
    Go,
    Verdict,
    after_second_go,
    complaints,
    deserves_second_go,
    parse_junit,
    report,
    run,
)

JUNIT = """\
<testsuites><testsuite>
  <testcase classname="tests.a" name="test_good@6.12" />
  <testcase classname="tests.a" name="test_bad@7.3"><failure message="no" /></testcase>
  <testcase classname="tests.a" name="test_broken"><error message="no" /></testcase>
  <testcase classname="tests.a" name="test_left@6.12"><skipped message="since 6.15" /></testcase>
</testsuite></testsuites>
"""
OLD = (Case("a@6.1", "passed"), Case("a@6.12", "passed"), Case("a@7.3", "passed"))


def test_junit_is_read() -> None:
    assert parse_junit(JUNIT) == (
        Case("tests.a::test_good@6.12", "passed"),
        Case("tests.a::test_bad@7.3", "failed"),
        Case("tests.a::test_broken", "failed"),
        Case("tests.a::test_left@6.12", "skipped", "since 6.15"),
    )


def test_a_lab_that_ran_on_its_kernel_is_fine() -> None:
    assert complaints("lab", 0, OLD) == ()


def test_what_a_kernel_is_too_old_for_may_be_skipped() -> None:
    assert complaints("lab", 0, (*OLD, Case("b@6.12", "skipped", "since 6.15"))) == ()
    parametrized = Case("b[real-goal0]@6.12]", "skipped", "call: Skipped: since 6.15")
    assert complaints("lab", 0, (*OLD, parametrized)) == ()


@pytest.mark.parametrize(
    "case",
    [
        Case("b@7.3", "skipped", "since 6.15"),
        Case("b@6.12", "skipped", "since 6.12"),
        Case("b@6.12", "skipped", "no swap"),
        Case("b", "skipped", "since 6.15"),
    ],
)
def test_other_skips_fail_the_lab(case: Case) -> None:
    assert complaints("lab", 0, (*OLD, case)) == (f"skipped: {case.name}: {case.reason}",)


def test_a_kernel_on_which_nothing_ran_fails_the_lab() -> None:
    assert complaints("lab", 0, OLD[:2]) == ("nothing ran on kernel 7.3",)


def test_a_kernel_that_was_built_is_one_of_its_own() -> None:
    case = Case("a[x]@7.3-idle]", "passed")
    assert complaints("idle", 0, (case,)) == ()
    assert "nothing ran on kernel 7.3" in complaints("lab", 0, (case,))


def test_a_tier_is_run_and_its_closing_line_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run("unit", tmp_path, ["tests/test_tiers.py", "-k", "has_the_first_say"])
    assert told.complaints == ()
    assert "1 passed" in told.closing
    assert capsys.readouterr().out.startswith("==== unit\n")


def test_nothing_run_is_a_failure() -> None:
    assert complaints("unit", 0, ()) == ("no test passed",)


def test_pytest_has_the_first_say() -> None:
    assert complaints("unit", 1, OLD) == ("pytest ended with 1",)


def _failed(*names: str) -> Go:
    return Go(1, "", (*OLD, *(Case(name, "failed") for name in names)))


@pytest.mark.parametrize(
    ("tier", "go", "deserved"),
    [
        ("lab", _failed("b@7.3"), True),
        ("idle", _failed("b@7.3-idle"), True),
        ("lab", _failed("b@7.3", "c@7.3", "d@7.3", "e@7.3"), False),
        ("unit", _failed("b"), False),
        ("lab", Go(0, "", OLD), False),
        ("lab", Go(2, "", (Case("b@7.3", "failed"),)), False),
        ("lab", Go(1, "", ()), False),
    ],
)
def test_little_that_failed_in_the_lab_gets_a_second_go(tier: str, go: Go, deserved: bool) -> None:
    assert deserves_second_go(tier, go) is deserved


def test_the_second_go_decides_about_what_failed_in_the_first() -> None:
    first = _failed("b@7.3", "c@7.3")
    passed = Go(0, "", (Case("b@7.3", "passed"), Case("c@7.3", "passed")))
    one_failed = Go(1, "", (Case("b@7.3", "passed"), Case("c@7.3", "failed")))

    good = after_second_go(first, passed)
    assert good.cases == (*OLD, *passed.cases)
    assert complaints("lab", good.returncode, good.cases) == ()

    bad = after_second_go(first, one_failed)
    assert bad.failed == {"c@7.3"}
    assert complaints("lab", bad.returncode, bad.cases) == ("pytest ended with 1",)


def test_a_second_go_that_left_something_out_decides_nothing() -> None:
    first = _failed("b@7.3", "c@7.3")
    assert after_second_go(first, Go(0, "", (Case("b@7.3", "passed"),))) is first
    assert after_second_go(first, Go(5, "", ())) is first


def test_the_closing_lines_are_pytests() -> None:
    good = Verdict("unit", 1.0, "2 passed in 1s", ())
    bad = Verdict("lab", 2.0, "1 failed", ("x",), ("b@7.3",))

    assert report([good, bad]).splitlines() == [
        "==== tiers",
        "unit             1 s  ok",
        "lab              2 s  FAILED",
        "      x",
        "      passed at the second go only: b@7.3",
        "2 passed in 1s",
        "1 failed",
    ]
