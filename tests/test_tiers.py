# SPDX-License-Identifier: Apache-2.0
"""A tier that did not run what it should counts as failed."""

from pathlib import Path

import pytest

from tests.tiers import Case, Verdict, complaints, parse_junit, report, run

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


def test_the_closing_lines_are_pytests() -> None:
    good = Verdict("unit", 1.0, "2 passed in 1s", ())
    bad = Verdict("lab", 2.0, "1 failed", ("x",))

    assert report([good, bad]).splitlines() == [
        "==== tiers",
        "unit             1 s  ok",
        "lab              2 s  FAILED",
        "      x",
        "2 passed in 1s",
        "1 failed",
    ]
