"""status and reload: what the agent says, and what is said when there is none."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from damos_agent.cli.status_text import brief, render, span
from damos_agent.model.codec import decode
from damos_agent.model.status import AgentStatus, GuardStatus, PolicyState, PolicyStatus
from damos_agent.model.userspace import AgesCheck, IdleBytes
from tests.cli.desk import OUTCOME, STATUS, Desk, agent

GOLDEN = Path(__file__).parent / "golden"


def test_the_table_is_the_one_we_know(desk: Desk) -> None:
    with agent(desk.run_root):
        result = desk.run("status")

    assert result.exit_code == 0
    assert result.output == (GOLDEN / "status.text").read_text()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_table_fits_the_terminal(width: int) -> None:
    lines = click.unstyle(render(STATUS, width)).splitlines()
    table = lines[lines.index("") + 1 :]
    rows = [line for line in table if line and not line.startswith(("  ", "rejected"))]

    assert max(map(len, rows)) <= width
    assert ("MODE" in rows[0]) == (width >= 100)
    assert [name for name in ("POLICY", "STATE", "APPLIED", "QUOTA") if name not in rows[0]] == []


def test_json_is_the_answer_itself(desk: Desk) -> None:
    with agent(desk.run_root):
        result = desk.run("status", "--json")

    assert decode(AgentStatus, json.loads(result.output)) == STATUS


def test_brief_is_one_line(desk: Desk) -> None:
    with agent(desk.run_root):
        result = desk.run("status", "--brief")

    assert result.output == "2 policies: 1 active, 1 waiting, 1 file rejected, 1 file with errors\n"


def test_an_agent_without_policies(desk: Desk) -> None:
    with agent(desk.run_root, replace(STATUS, policies=(), rejected=())):
        assert desk.run("status").output.endswith("\n\nno policies\n")
        assert desk.run("status", "--brief").output == "0 policies\n"


def test_watching_goes_on_until_interrupted(desk: Desk) -> None:
    desk.patience = 3
    with agent(desk.run_root):
        result = desk.run("status", "--brief", "--watch", "5")

    assert result.exit_code == 0
    assert desk.sleeps == [5.0, 5.0, 5.0]
    assert result.output.count("2 policies:") == 3


def test_watching_survives_the_agent(desk: Desk) -> None:
    result = desk.run("status", "--watch")

    assert result.exit_code == 0
    assert desk.sleeps == [2.0, 2.0]
    assert result.output.count("the agent is not running here") == 2


def test_no_agent_is_1_and_nothing_left(desk: Desk) -> None:
    result = desk.run("status")

    assert result.exit_code == 1
    assert "the agent is not running here" in result.stderr
    assert "no kdamond runs" in result.stderr


def test_what_a_dead_agent_left_is_told(desk: Desk) -> None:
    desk.put("work.yaml")
    desk.world.spawn("work")
    desk.reconcile()

    result = desk.run("status")

    assert result.exit_code == 1
    assert "left by the agent for policy work" in result.stderr
    assert "1 kdamond will be taken over when the agent starts" in result.stderr


def test_kdamonds_of_others_are_told_apart(desk: Desk) -> None:
    desk.put("work.yaml")
    desk.world.spawn("work")
    desk.reconcile()
    (desk.run_root / "state.json").unlink()

    result = desk.run("status")

    assert "somebody else's" in result.stderr
    assert "taken over" not in result.stderr


def test_reload_reaches_the_agent(desk: Desk) -> None:
    with agent(desk.run_root) as done:
        result = desk.run("reload")

    assert result.exit_code == 0
    assert done == ["reload"]


def test_reload_without_an_agent_is_1(desk: Desk) -> None:
    assert desk.run("reload").exit_code == 1


def shown(policy: PolicyStatus, **agent: Any) -> str:
    return click.unstyle(render(replace(STATUS, policies=(policy,), **agent), None))


def test_a_reload_that_failed_as_a_whole_says_why() -> None:
    status = replace(STATUS, last_reload_ok=False, compile_error="the compiler took too long")
    assert brief(status).endswith(", the last reload failed")
    text = click.unstyle(render(status, None))
    assert "everything goes on as it was: the compiler took too long\n" in text
    assert "what it rejected" not in text


def test_what_only_observes_says_so() -> None:
    first = STATUS.policies[0]
    schemes = tuple(replace(scheme, matched_bytes=64 << 20) for scheme in first.schemes)
    policy = replace(first, state=PolicyState.OBSERVING, mode="observe", schemes=schemes)
    text = shown(policy)
    assert "only observes: in brackets what matches now" in text
    assert "(64.0 MiB)" in text
    assert "(+16.0 MiB)" in text
    assert "only observes" not in shown(STATUS.policies[0])


def test_what_matched_so_far_is_not_said_to_match_now() -> None:
    """The same memory is in it at each round, so it may be more than there is."""
    outcome = replace(OUTCOME, sz_tried=64 << 30, matched_bytes=None)
    policy = replace(STATUS.policies[0], state=PolicyState.OBSERVING, schemes=(outcome,))
    text = shown(policy)
    assert "(64.0 GiB)" in text
    assert "only observes: in brackets what matched so far" in text
    assert "matches now" not in text


def test_no_number_stands_for_not_known_or_without_limit() -> None:
    unlimited = replace(OUTCOME, quota_bytes=0, effective_bytes=2**64 - 1)
    text = shown(replace(STATUS.policies[0], schemes=(unlimited,)))

    assert "TiB" not in text
    assert "goal rss: not measured, target 8.0 GiB" in text
    assert "goal memory_psi_some: 0.4% of 1%" in text


@pytest.mark.parametrize(
    ("us", "text"),
    [(123_456, "123ms"), (500, "0.5ms"), (1_500_000, "1.5s"), (125_000_000, "2m 5s")],
)
def test_tuned_intervals_are_rounded_for_people(us: int, text: str) -> None:
    policy = replace(
        STATUS.policies[0],
        backend="userspace", slot=-1, probe="vma", granularity="mapping", aggr_us=us, cpu_bp=123,
    )  # fmt: skip

    found = shown(policy, backend="kernel+userspace")

    assert f"probe vma (tells by mapping), ages in steps of {text}, costs 1.23% of a core" in found
    assert "backend kernel and user space" in found
    assert "userspace" not in found


def test_files_are_counted_not_their_findings() -> None:
    status = replace(STATUS, rejected=("/etc/r.yaml:1:1: a", "/etc/r.yaml:2:1: b"))

    assert "1 file rejected" in click.unstyle(render(status, None))


def test_one_is_singular_and_two_are_not() -> None:
    one = shown(STATUS.policies[0], sysfs_writes=1, foreign_kdamonds=1, sysfs_write_failures=1)
    two = shown(STATUS.policies[0], sysfs_writes=2, foreign_kdamonds=2, sysfs_write_failures=2)

    assert "1 write to DAMON\n" in one
    assert "1 kdamond of somebody else is left alone" in one
    assert "the kernel refused 1 write\n" in one
    assert "2 writes to DAMON\n" in two
    assert "2 kdamonds of somebody else are left alone" in two


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (0.4, "0s"), (59, "59s"), (61, "1m 1s"), (3600, "1h"), (11_560, "3h 12m"),
     (90_061, "1d 1h")],
)  # fmt: skip
def test_a_span_in_words(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_cgroup_as_a_whole_tells_bytes_by_idle_time() -> None:
    policy = replace(
        STATUS.policies[0],
        backend="userspace",
        probe="memcg",
        granularity="cgroup",
        aggr_us=2_000_000,
        ages=(IdleBytes(4_000_000, 60 << 20, 4 << 20), IdleBytes(0, 90 << 20, 6 << 20)),
    )
    told = click.unstyle(render(replace(STATUS, policies=(policy,)), 100))
    assert "  probe memcg (tells by cgroup), " in told
    assert "  idle for at least 4s: 64.0 MiB; of 96.0 MiB in all\n" in told


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (
            AgesCheck("agrees", 60 << 20, 120_000_000, 65 << 20),
            "the multi-gen LRU agrees: 60.0 MiB found idle for 2m, by its ages 65.0 MiB at most",
        ),
        (
            AgesCheck("cannot tell", 60 << 20, 120_000_000, 0, "there is no such file"),
            "the multi-gen LRU cannot tell: 60.0 MiB found idle for 2m, there is no such file",
        ),
    ],
)
def test_the_second_opinion_is_told_with_its_figures(told: AgesCheck, text: str) -> None:
    assert f"  {text}\n" in shown(
        replace(STATUS.policies[0], backend="userspace", slot=-1, ages_check=told)
    )


def test_old_figures_say_how_old_they_are() -> None:
    policy = STATUS.policies[0]
    assert "figures of 42s ago" in shown(replace(policy, age_s=42.4))
    assert "figures of" not in shown(replace(policy, age_s=3.0))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("pause", "db"), "pause db"),
        (("pause",), "pause"),
        (("resume", "db"), "resume db"),
        (("resume",), "resume"),
        (("feed", "p99-us", "1500"), "feed p99-us 1500"),
    ],
)
def test_switches_reach_the_agent(desk: Desk, words: tuple[str, ...], told: str) -> None:
    with agent(desk.run_root) as done:
        assert desk.run(*words).exit_code == 0
    assert done == [told]


def test_resume_cannot_lift_the_kill_switch(desk: Desk) -> None:
    with agent(desk.run_root):
        (desk.run_root / "disable").touch()
        result = desk.run("resume")

    assert result.exit_code == 1
    assert "disable exists" in result.stderr


@pytest.mark.parametrize(
    ("guard", "lines"),
    [
        (GuardStatus("free", 10_000), []),
        (
            GuardStatus("slow", 2_500, "io_psi", "tasks waited"),
            ["the guard allows 25% of the quotas: tasks waited"],
        ),
        (
            GuardStatus("tripped", 0, "refaults", "9 pages", until_s=48.2),
            ["page-out may go on in 48s at the earliest"],
        ),
    ],
)
def test_a_guard_is_told_while_it_limits(guard: GuardStatus, lines: list[str]) -> None:
    text = shown(replace(STATUS.policies[0], guard=guard))
    assert [line.strip() for line in text.splitlines() if "guard" in line or "at the" in line] == (
        lines
    )
