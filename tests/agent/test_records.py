"""Outcome records of a simulated agent: complete, true to the schema, and replayed."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from damos_agent.agent.event_doc import outcome_schema
from damos_agent.agent.outcome_file import OutcomeFile, files_of
from damos_agent.agent.record_doc import shape_of
from damos_agent.algo.record import GuardDecision, OutcomeRecord, QuotaDecision, disagreements
from damos_agent.host.cost import parse_mm_stat, read_backing, share_of
from damos_agent.host.roots import Roots
from damos_agent.model.codec import decode
from tests.agent.engine import Engine, running
from tests.agent.test_pilot import Steered, used
from tests.agent.test_warden import BUDGET, Bench
from tests.config import samples
from tests.host.fakes import FakeFilesystem

__all__ = ["used"]

MIB = 1 << 20
PHYS = samples.policy("phys", target="{physical: {}}", mode="enforce")
SWAPPED = "MemTotal: 1048576 kB\nMemFree: 524288 kB\nSwapTotal: 409600 kB\nSwapFree: 307200 kB\n"


def records(root: Path) -> list[OutcomeRecord]:
    """What was kept, each valid by the schema."""
    validator = jsonschema.Draft7Validator(outcome_schema())
    found = []
    for path in files_of(str(root / "run/outcomes.jsonl")):
        for line in Path(path).read_text().splitlines():
            document = json.loads(line)
            validator.validate(document)
            found.append(decode(OutcomeRecord, document))
    return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.put(PHYS)
    return made


def test_a_record_tells_what_was_read_done_and_gained(bench: Bench, tmp_path: Path) -> None:
    bench.files["/proc/meminfo"] = SWAPPED
    bench.files["/sys/block/zram0/mm_stat"] = f"104857600 26214400 {30 * MIB} 0 0 0 0 0 0\n"
    bench.files["/proc/self/statm"] = "9999 2560 0 0 0 0 0\n"
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.look()
        bench.engine.core.tell_outcomes()
        bench.turn(50)
        bench.look(60)
        bench.engine.core.tell_outcomes()
    first, second = records(tmp_path)
    assert (first.interval_us, second.interval_us) == (0, 60_000_000)
    assert second.effect.refaults == 50
    assert second.effect.resident_after == 512 * MIB
    assert second.savings is not None
    assert (second.savings.gross, second.savings.backing) == (100 * MIB, 30 * MIB)
    assert second.savings.overhead == 10 * MIB
    assert second.net == 60 * MIB
    assert (second.limited_by, second.state) == ("pattern", "active")
    levels = {one.name: one.value for one in second.inputs}
    assert levels["level:refaults"] == 50 * 10_000 // BUDGET
    assert second.policy == "phys"
    assert second.digest


def test_whole_logs_are_replayed(tmp_path: Path, used: Callable[[], None]) -> None:
    """Guards and goals with a troubled workload: every decision follows from its record."""
    used()
    bench = Steered(tmp_path)
    bench.put(
        samples.policy(
            "rss",
            target="{process: {exe: work}}",
            mode="enforce",
            quota="{size: 64MiB, interval: 1s, goals: [{rss: 100MiB}]}",
        )
    )
    stat = f"/proc/{bench.pid}/stat"
    with running(bench.engine):
        bench.engine.reloads(1)
        for step in range(240):
            bench.rss(200 if step % 60 < 40 else 90)
            if step % 90 == 50:
                fields = bench.files[stat].split()
                fields[11] = str(int(fields[11]) + 400 * (1 + step // 50))
                bench.files[stat] = " ".join(fields)
                bench.turn(2_000)
            bench.look(5)
            bench.step()
            if step % 6 == 5:
                bench.engine.core.tell_outcomes()
    found = records(tmp_path)
    decisions = [one for record in found for one in record.decisions]
    assert sum(isinstance(one, GuardDecision) for one in decisions) > 15
    assert sum(isinstance(one, QuotaDecision) for one in decisions) > 50
    assert {one.after.stage.value for one in decisions if isinstance(one, GuardDecision)} >= {
        "free",
        "slow",
        "tripped",
    }
    assert list(disagreements(found)) == []


def test_the_log_has_them_too(bench: Bench) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.look()
        bench.turn(BUDGET)
        bench.look()
        bench.engine.core.tell_outcomes()
    (event,) = bench.engine.world.events("policy_outcome")
    assert event["limited_by"] == "guard:refaults"
    assert f"{BUDGET} pages were needed again" in str(event["reason"])
    record = event["record"]
    assert isinstance(record, dict)
    assert record["decisions"][-1]["after"]["stage"] == "paused"
    assert "schemes" not in record


def test_who_observes_has_records_without_a_guard(bench: Bench, tmp_path: Path) -> None:
    bench.put(PHYS.replace("enforce", "observe"))
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.engine.core.tell_outcomes()
    (record,) = records(tmp_path)
    assert (record.mode, record.state, record.decisions) == ("observe", "observing", ())


def test_where_they_go_is_a_setting(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.jsonl"
    bench.engine.settings(f"{{outcomes: {{file: {path}}}}}")
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.engine.core.tell_outcomes()
        assert path.exists()
        bench.engine.settings("{outcomes: {enabled: false}}")
        bench.engine.reload()
        size = path.stat().st_size
        bench.engine.core.tell_outcomes()
        assert path.stat().st_size == size
    assert not (tmp_path / "run/outcomes.jsonl").exists()


def test_a_file_that_cannot_be_written_is_told_once(bench: Bench, tmp_path: Path) -> None:
    bench.engine.settings(f"{{outcomes: {{file: {tmp_path}/not/there}}}}")
    with running(bench.engine):
        bench.engine.reloads(1)
        for _ in range(3):
            bench.engine.core.tell_outcomes()
    (event,) = bench.engine.world.events("state_unusable")
    assert "No such file" in str(event["message"])
    assert len(bench.engine.world.events("policy_outcome")) == 3


def test_a_dry_run_keeps_no_records(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    core = Engine(tmp_path, dry_run=True).core
    assert not core._recorder.keeps


def test_files_are_turned_over(tmp_path: Path) -> None:
    path = tmp_path / "o"
    file = OutcomeFile(str(path), 100, 2)
    for number in range(12):
        file.append(f"{number:02d}" + "x" * 37)
    kept = [name.rpartition("/")[2] for name in files_of(str(path))]
    assert kept == ["o.2", "o.1", "o"]
    lines = [line[:2] for name in files_of(str(path)) for line in Path(name).read_text().split()]
    assert lines == [f"{number:02d}" for number in range(6, 12)]
    assert all(os.path.getsize(name) <= 100 for name in files_of(str(path)))
    lonely = OutcomeFile(str(tmp_path / "p"), 50, 0)
    for _ in range(3):
        lonely.append("y" * 40)
    assert files_of(str(tmp_path / "p")) == [str(tmp_path / "p")]


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic") as caught:
        OutcomeFile(str(tmp_path / "link"), 100, 1).append("x")
    assert caught.value.errno == errno.ELOOP
    assert not (tmp_path / "victim").exists()


def test_what_holds_swap_costs_memory() -> None:
    assert parse_mm_stat("1 2 3 4 5 6 7 8 9\n") == 3
    assert parse_mm_stat("") == 0
    files: dict[str, str | int] = {
        "/sys/block/zram0/mm_stat": "9 9 100 0\n",
        "/sys/block/zram1/mm_stat": "9 9 50 0\n",
        "/sys/block/sda/size": "1\n",
    }
    assert read_backing(FakeFilesystem(files), Roots(), {"Zswap": 7}) == 157
    assert read_backing(FakeFilesystem(), Roots(), {}) == 0
    assert share_of(150, 10, 100) == 15
    assert share_of(150, 0, 0) == 0


def test_what_the_codec_cannot_say_has_no_schema() -> None:
    with pytest.raises(TypeError):
        shape_of(complex)
