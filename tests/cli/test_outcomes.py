"""outcomes and explain: records and reasons for people and programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest

from damos_agent.agent.listeners import listen_unix
from damos_agent.agent.status import StatusAnswer
from damos_agent.algo.record import Effect, OutcomeRecord, Savings
from damos_agent.cli.outcome_text import _thinned, curves, rows
from damos_agent.model.codec import encode
from damos_agent.model.errors import HostError
from damos_agent.model.status import GuardStatus, PolicyState, PolicyStatus, Worth
from damos_agent.model.userspace import Snapshot, SnapshotRegion
from tests.agent.serving import serving
from tests.cli.desk import OUTCOME, STATUS, Desk, agent

MIB = 1 << 20


def record(
    policy: str = "web", net: int | None = 64 * MIB, age_s: float = 0, code: str = "none"
) -> OutcomeRecord:
    savings = Savings(100 * MIB, 30 * MIB, 6 * MIB)
    return OutcomeRecord(
        policy, "d", "enforce", "active", "kernel", round(time.time() - age_s, 3), 5_000_000,
        60_000_000, code, "why", (), (), Effect(9, 5 * MIB, 12, MIB, 2 * MIB), 60_000, 0, savings,
        net, (OUTCOME,),
    )  # fmt: skip


def keep(path: Path, *records: OutcomeRecord, junk: str = "") -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(encode(one)) + "\n" for one in records) + junk)


def test_rows_tell_what_was_done_what_limited_and_what_it_was_worth() -> None:
    lines = [click.unstyle(line) for line in rows([record(code="guard:refaults")], None)]
    assert lines[0].split() == [
        "TIME", "POLICY", "STATE", "LIMITED", "BY", "APPLIED", "REFAULTS", "RESIDENT", "NET", "CPU"
    ]  # fmt: skip
    assert lines[1].split()[2:] == [
        "web", "active", "guard:refaults", "5.0", "MiB", "12", "2.0", "MiB", "64.0", "MiB", "0.10%"
    ]  # fmt: skip
    (_, poor) = rows([replace(record(net=-2 * MIB), cpu_us=None)], None)
    assert "-2.0 MiB" in poor


def test_the_agents_files_are_read_oldest_first(desk: Desk) -> None:
    path = desk.run_root / "outcomes.jsonl"
    keep(path.with_name("outcomes.jsonl.1"), record("old", age_s=7_200))
    keep(path, record("web", age_s=60), record("db"))
    everything = desk.run("outcomes")
    assert everything.exit_code == 0
    assert [line.split()[2] for line in everything.output.splitlines()[1:]] == ["old", "web", "db"]
    assert "old" not in desk.run("outcomes", "--since", "1h").output
    assert len(desk.run("outcomes", "db").output.splitlines()) == 2
    assert desk.run("outcomes", "nobody").exit_code == 1


def test_the_last_of_each(desk: Desk) -> None:
    keep(desk.run_root / "outcomes.jsonl", *[record(n, age_s=9 - i) for i, n in enumerate("aabab")])
    output = desk.run("outcomes", "--last", "1").output
    assert [line.split()[2] for line in output.splitlines()[1:]] == ["a", "b"]


def test_for_programs_lines_are_passed_on(desk: Desk) -> None:
    keep(desk.run_root / "outcomes.jsonl", record(), record("db"))
    lines = desk.run("outcomes", "--json").output.splitlines()
    assert [json.loads(line)["policy"] for line in lines] == ["web", "db"]
    assert desk.run("outcomes", "--json", "nobody").exit_code == 0


def test_what_cannot_be_read_is_told_and_the_rest_used(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere"
    keep(path, record(), junk='{"kind": "Outcome\n\n[1]\n')
    result = desk.run("outcomes", "--file", str(path))
    assert result.exit_code == 0
    assert "3 lines are no outcome records" in result.stderr
    assert "web" in result.stdout
    missing = desk.run("outcomes", "--file", str(tmp_path / "none"))
    assert missing.exit_code == 1
    assert "cannot be read" in missing.stderr


def test_lines_of_the_journal_do_as_well(desk: Desk, tmp_path: Path) -> None:
    body = encode(record())
    del body["schemes"]
    line = json.dumps({"event": "policy_outcome", "policy": "web", "record": body})
    result = desk.run("outcomes", "--file", "-", stdin=line + "\n")
    assert "web" in result.output


def test_where_records_are_switched_off_that_is_said(desk: Desk) -> None:
    directory = desk.config / "etc/damos-agent"
    directory.mkdir(parents=True)
    head = "apiVersion: damos-agent/v1\nkind: Agent\n"
    (directory / "agent.yaml").write_text(f"{head}spec: {{outcomes: {{enabled: false}}}}\n")
    result = desk.run("outcomes")
    assert result.exit_code == 1
    assert "switched off" in result.stderr


def test_nonsense_of_a_time_is_wrong_use(desk: Desk) -> None:
    assert desk.run("outcomes", "--since", "yesterday").exit_code == 64


def test_curves_fit_and_show_ups_and_downs() -> None:
    values = [record(net=(i % 50) * MIB, age_s=500 - i) for i in range(500)]
    lines = [click.unstyle(line) for line in curves(values, 80)]
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("web")
    assert "█" in lines[1]
    assert lines[1].endswith("0 B to 49.0 MiB")
    assert "not known" in click.unstyle("\n".join(curves([record(net=None)], 80)))
    assert _thinned([1, -9, 2, None, 3, 4], 3) == [-9, 2, 4]
    flat = list(curves([record(net=0)], 80))
    assert "▁" in flat[1]


SNAPSHOT = Snapshot(
    "damon", "region", 5_000, 100_000, 20,
    (
        SnapshotRegion(7, 0x1000, 0x801000, 0, 300_000_000),
        SnapshotRegion(7, 0x801000, 0x901000, 20, 0),
    ),
)  # fmt: skip
GUARD = GuardStatus("slow", 2_500, "refaults", "9 pages", 12.0, 1, {"refaults": 7_200, "cpu": None})


@pytest.fixture
def explained(desk: Desk) -> Iterator[Desk]:
    """An agent with one policy, and its regions."""
    desk.put("work.yaml")
    policy = PolicyStatus(
        "work", PolicyState.ACTIVE, "enforce", "kernel", "/etc/w.yaml", "d", slot=0,
        schemes=(replace(OUTCOME, qt_exceeds_delta=4),), guard=GUARD,
        worth=Worth("quota", "the quota of scheme 0 was used up 4 times", 60_000_000, 9, 100 * MIB,
                    64 * MIB, 9),
    )  # fmt: skip
    status = replace(STATUS, policies=(policy,))

    def regions(request: dict[str, str]) -> Snapshot:
        if request["policy"] != "work":
            raise HostError("no such policy")
        return SNAPSHOT

    desk.run_root.mkdir(exist_ok=True)
    answer = StatusAnswer({"status": lambda: status}, {}, asks={"regions": regions})
    with serving(listen_unix(str(desk.run_root / "status.sock")), answer):
        yield desk


def test_explain_tells_the_whole_story(explained: Desk) -> None:
    result = explained.run("explain", "work")
    assert result.exit_code == 0, result.output
    text = result.output
    for part in (
        "work: active in the kernel, mode enforce",
        "what limits it: quota (the quota of scheme 0 was used up 4 times)",
        "gained: 64.0 MiB net; 100.0 MiB of its target is in swap",
        "guard: slow, allows 25% of the quotas",
        "refaults     72% of its limit",
        "cpu          cannot be read",
        "scheme 0: pageout of memory with access rate 0% to 0%, like that for 2m to longer",
        "the policy allows 1.0 MiB in 1s",
        "the guard allows 25% of that: 9 pages",
        "goal memory_psi_some: 0.4% of 1%",
        "the quota was used up 4 times",
        "regions: 2, 9.0 MiB of addresses",
        "without access for   2m or longer: 8.0 MiB",
    ):
        assert part in text, part
    assert "for  10m" not in text


def test_explain_an_address(explained: Desk) -> None:
    cold = explained.run("explain", "work", "--address", "0x2000").output
    assert "0x1000-0x801000 of process 7: 8.0 MiB, access rate 0% for 5m" in cold
    assert "scheme 0 (pageout): matches, but" in cold
    assert "this region's priority is" in cold
    warm = explained.run("explain", "work", "--address", str(0x850000)).output
    assert "scheme 0 (pageout): does not match" in warm
    assert "access rate: 100% is above 0%" in warm
    assert "no region holds it" in explained.run("explain", "work", "--address", "0x1").output
    assert (
        "no region" in explained.run("explain", "work", "--address", "0x2000", "--pid", "9").output
    )
    assert explained.run("explain", "work", "--address", "here").exit_code == 64


def test_explain_for_programs(explained: Desk) -> None:
    document = json.loads(explained.run("explain", "work", "--json", "--address", "0x2000").output)
    assert document["status"]["name"] == "work"
    assert document["regions"]["count"] == 2
    (told,) = document["address"]
    assert told["verdicts"][0]["matches"] is True


def test_explain_whom_nobody_knows(explained: Desk) -> None:
    result = explained.run("explain", "fork")
    assert result.exit_code == 1
    assert "there are: work" in result.stderr


def test_explain_goes_on_without_regions(desk: Desk) -> None:
    with agent(desk.run_root):
        result = desk.run("explain", "proactive-reclaim")
    assert result.exit_code == 0
    assert "does not know this request" in result.output
