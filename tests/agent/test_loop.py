"""The loop: reloads, signals, and settings put in force when they become known or change."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from damos_agent.agent.inotify import InotifyWatcher
from damos_agent.agent.loader import read_loaded
from damos_agent.agent.loop import monotonic_us
from damos_agent.agent.main import _stop
from damos_agent.agent.watcher import PollWatcher
from damos_agent.model.errors import CompileError
from damos_agent.model.policy import ProcessTarget
from damos_agent.model.status import PolicyState
from damos_agent.model.userspace import ContextReport, Report
from tests.agent.engine import PHYSICAL, Engine, edit, running
from tests.config import samples


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    tmp_path.chmod(0o755)
    return Engine(tmp_path)


def can_connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(str(path)) == 0


def test_the_first_compilation_puts_policies_in_force(engine: Engine) -> None:
    (engine.policies / "a.yaml").write_text(PHYSICAL)
    with running(engine):
        engine.reloads(1)
        assert engine.core.standings["phys"].state is PolicyState.OBSERVING
        assert engine.world.damon.running(0)


def test_an_edit_is_noticed(engine: Engine) -> None:
    with running(engine):
        engine.reloads(1)
        edit(engine.policies / "a.yaml", PHYSICAL)
        engine.until(lambda: "phys" in engine.core.standings)
        (engine.policies / "a.yaml").unlink()
        engine.until(lambda: not engine.core.standings)


def test_sighup_looks_again_whatever_the_digests_say(engine: Engine) -> None:
    with running(engine):
        engine.reloads(1)
        os.kill(os.getpid(), signal.SIGHUP)
        engine.reloads(2)
        assert engine.world.events("reload_finished")[-1]["trigger"] == "signal"
        assert engine.world.events("signal_received")[0]["signal"] == "SIGHUP"
        assert not engine.loop.stop_reason


def test_sighup_during_a_reload_is_not_lost(engine: Engine) -> None:
    with running(engine):
        os.kill(os.getpid(), signal.SIGHUP)
        engine.reloads(2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_that_stop(engine: Engine, number: signal.Signals) -> None:
    with running(engine):
        os.kill(os.getpid(), number)
        engine.until(lambda: engine.loop.stop_reason)
        assert engine.loop.stop_reason == number.name


def test_the_metrics_socket_is_served_from_the_first_compilation_on(engine: Engine) -> None:
    path = engine.root / "run/metrics.sock"
    engine.settings(f"{{metrics: {{listen: 'unix:{path}'}}}}")
    with running(engine):
        engine.reloads(1)
        assert can_connect(path)


def test_the_metrics_socket_follows_edits(engine: Engine) -> None:
    one, two = engine.root / "run/one.sock", engine.root / "run/two.sock"
    engine.settings(f"{{metrics: {{listen: 'unix:{one}'}}}}")
    with running(engine):
        engine.reloads(1)
        engine.settings(f"{{metrics: {{listen: 'unix:{two}'}}}}")
        engine.reload()
        assert (one.exists(), can_connect(two)) == (False, True)
        engine.settings("{}")
        engine.reload()
        assert not two.exists()
        assert engine.world.events("listening_ended")
    assert engine.loop.servers == []


def test_an_address_that_cannot_be_had_is_told_once_and_tried_again(engine: Engine) -> None:
    path = engine.root / "missing/metrics.sock"
    engine.settings(f"{{metrics: {{listen: 'unix:{path}'}}}}")
    with running(engine):
        engine.reloads(1)
        engine.reload()
        (failed,) = engine.world.events("listen_failed")
        assert failed["address"] == f"unix:{path}"
        path.parent.mkdir()
        engine.loop.schedule.at("resync", 0)
        engine.until(path.exists)


def test_the_textfile_is_kept_while_it_is_asked_for(engine: Engine) -> None:
    one, two = engine.root / "run/one.prom", engine.root / "run/two.prom"
    engine.settings(f"{{metrics: {{textfile: {one}, textfile_interval: 1h}}}}")
    with running(engine):
        engine.until(one.exists)
        assert engine.loop.schedule.due["textfile"] > monotonic_us() + 3_500_000_000
        engine.settings(f"{{metrics: {{textfile: {two}}}}}")
        engine.until(two.exists)
        assert not one.exists()
        engine.settings("{}")
        engine.until(lambda: not two.exists())
        assert "textfile" not in engine.loop.schedule.due
        engine.settings(f"{{metrics: {{textfile: {one}}}}}")
        engine.until(one.exists)
    assert not one.exists()


def test_the_textfile_is_written_again_at_each_interval(engine: Engine) -> None:
    path = engine.root / "run/damos.prom"
    engine.settings(f"{{metrics: {{textfile: {path}, textfile_interval: 1s}}}}")
    with running(engine):
        engine.until(path.exists)
        first = path.stat().st_ino
        engine.loop.schedule.at("textfile", 0)
        engine.until(lambda: path.stat().st_ino != first)


def test_a_textfile_that_cannot_be_written_is_told_once_and_tried_again(engine: Engine) -> None:
    path = engine.root / "missing/damos.prom"
    engine.settings(f"{{metrics: {{textfile: {path}}}}}")
    with running(engine):
        engine.until(lambda: engine.world.events("state_unusable"))
        engine.loop.schedule.at("textfile", 0)
        engine.until(lambda: engine.loop.schedule.due["textfile"])
        assert len(engine.world.events("state_unusable")) == 1
        path.parent.mkdir()
        engine.loop.schedule.at("textfile", 0)
        engine.until(path.exists)


def test_a_dry_run_writes_no_textfile(tmp_path: Path) -> None:
    path = tmp_path / "run/damos.prom"
    dry = Engine(tmp_path, dry_run=True)
    dry.settings(f"{{metrics: {{textfile: {path}}}}}")
    with running(dry):
        dry.until(lambda: dry.core.settings.metrics.textfile)
        dry.until(lambda: "textfile" not in dry.loop.schedule.due)
    assert not path.exists()


def test_the_watcher_is_switched(engine: Engine) -> None:
    with running(engine):
        engine.reloads(1)
        assert isinstance(engine.loop.watcher, InotifyWatcher)
        engine.settings("{watch: poll}")
        engine.reload()
        assert isinstance(engine.loop.watcher, PollWatcher)
        engine.settings("{watch: inotify}")
        engine.reload()
        assert isinstance(engine.loop.watcher, InotifyWatcher)


def test_the_log_changes_its_level_and_format(engine: Engine) -> None:
    def told() -> str:
        engine.text.truncate(0)
        engine.switched.debug("quiet")
        engine.switched.info("loud")
        return engine.text.getvalue()

    with running(engine):
        engine.reloads(1)
        assert ("quiet" in told(), "loud" in told()) == (False, True)
        engine.settings("{log: {level: debug, format: text}}")
        engine.reload()
        assert "quiet" in told()
        assert "{" not in told()


def test_the_command_line_wins_over_the_settings(engine: Engine) -> None:
    engine.adjuster.fixed_level = "error"
    engine.settings("{log: {level: debug}}")
    with running(engine):
        engine.reloads(1)
        engine.switched.info("loud")
        assert engine.text.getvalue() == ""


def stop(engine: Engine) -> int:
    return _stop(engine.loop, engine.core)


def test_on_exit_stop_gives_everything_back(engine: Engine) -> None:
    (engine.policies / "a.yaml").write_text(PHYSICAL)
    with running(engine):
        engine.reloads(1)
        assert stop(engine) == 0
    assert not engine.world.damon.kdamonds
    assert engine.world.events("agent_stopped")[0]["kdamonds"] == 1


def test_on_exit_keep_leaves_policies_at_work_for_the_next_agent(engine: Engine) -> None:
    (engine.policies / "a.yaml").write_text(PHYSICAL)
    engine.settings("{on_exit: keep}")
    with running(engine):
        engine.reloads(1)
        writes = len(engine.world.damon.log)
        assert stop(engine) == 0
    assert engine.world.damon.running(0)
    assert len(engine.world.damon.log) == writes
    assert engine.world.events("agent_stopped")[0]["on_exit"] == "keep"
    engine.world.restart()
    assert engine.world.events("kdamond_adopted")


def test_a_dry_run_that_stays_writes_nothing(tmp_path: Path) -> None:
    """Beside an agent at work: not to DAMON, not when it stops, and not below /run."""
    first = Engine(tmp_path)
    (first.policies / "a.yaml").write_text(PHYSICAL)
    with running(first):
        first.reloads(1)
    log, kept = list(first.world.damon.log), (tmp_path / "run/loaded.json").read_bytes()
    dry = Engine(tmp_path, dry_run=True)
    dry.world.damon, dry.world.machine = first.world.damon, first.world.machine
    dry.world.saved = first.world.saved
    dry.world.restart()
    dry.core.seating.reconciler = dry.world.reconciler
    dry.core.machine = dry.world.reconciler.machine
    edit(dry.policies / "a.yaml", samples.policy("other", target="{physical: {}}"))
    with running(dry):
        dry.reloads(1)
        assert dry.world.events("plan_computed")
        assert stop(dry) == 0
    assert first.world.damon.log == log
    assert (tmp_path / "run/loaded.json").read_bytes() == kept
    assert not dry.world.events("kdamond_adopted")


def test_a_file_that_is_still_bad_is_told_by_each_process(engine: Engine, tmp_path: Path) -> None:
    """Whoever reads the log after a restart has to find it there."""
    (engine.policies / "a.yaml").write_text(PHYSICAL)
    with running(engine):
        engine.reloads(1)
        edit(engine.policies / "a.yaml", PHYSICAL.replace("size: 100MiB", "sise: 100MiB"))
        engine.until(lambda: engine.world.events("policy_rejected"))
    again = Engine(tmp_path)
    again.core.loaded = read_loaded(str(tmp_path / "run/loaded.json"))
    with running(again):
        again.reloads(1)
        (event,) = again.world.events("policy_rejected")
        assert "DA022" in str(event["findings"])
        again.reload()
        assert len(again.world.events("policy_rejected")) == 1


def test_a_compiler_that_failed_at_first_hides_no_bad_file(engine: Engine, tmp_path: Path) -> None:
    (engine.policies / "a.yaml").write_text(PHYSICAL)
    with running(engine):
        engine.reloads(1)
        edit(engine.policies / "a.yaml", PHYSICAL.replace("size: 100MiB", "sise: 100MiB"))
        engine.until(lambda: engine.core.loaded.stale)
    again = Engine(tmp_path)
    again.core.loaded = read_loaded(str(tmp_path / "run/loaded.json"))
    again.core.compile_failed(CompileError("out of time"))
    assert again.core.status().compile_error == "out of time"
    with running(again):
        again.reloads(1)
        assert again.core.status().compile_error == ""
        assert again.world.events("policy_rejected")


def named_a(exe: str) -> str:
    return samples.policy("a", target=f"{{process: {{exe: {exe}}}}}")


def test_a_newcomer_does_not_take_the_name_of_a_policy_in_force(engine: Engine) -> None:
    """Whatever its file's name: not of a good file, nor of one whose last good version goes on."""
    (engine.policies / "m.yaml").write_text(named_a("old"))
    with running(engine):
        engine.reloads(1)
        edit(engine.policies / "0new.yaml", named_a("new"))
        engine.until(lambda: engine.world.events("policy_rejected"))
        (event,) = engine.world.events("policy_rejected")
        assert event["path"] == str(engine.policies / "0new.yaml")
        assert "m.yaml" in str(event["findings"])
        assert engine.core.policies["a"].target == ProcessTarget(exe="old")

        edit(engine.policies / "m.yaml", named_a("old").replace("size:", "sise:"))
        engine.until(lambda: engine.core.loaded.stale)
        assert engine.core.policies["a"].target == ProcessTarget(exe="old")

        (engine.policies / "m.yaml").unlink()
        engine.until(lambda: engine.core.policies["a"].target == ProcessTarget(exe="new"))
        assert not engine.core.loaded.rejected


def test_names_may_be_exchanged(engine: Engine) -> None:
    a, b = samples.policy("a"), samples.policy("b")
    (engine.policies / "1.yaml").write_text(a)
    (engine.policies / "2.yaml").write_text(b)
    with running(engine):
        engine.reloads(1)
        (engine.policies / "1.yaml").write_text(b)
        (engine.policies / "2.yaml").write_text(a)
        engine.reload()
        assert engine.core.loaded.held == {
            "a": str(engine.policies / "2.yaml"),
            "b": str(engine.policies / "1.yaml"),
        }
        assert engine.core.loaded.ok


def test_what_is_wrong_outside_policy_files_is_told_too(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(engine.loop.notifier, "ready", told.append)
    (engine.policies / "a.yaml").write_text(PHYSICAL)
    with running(engine):
        engine.reloads(1)
        engine.settings("{slots: many}")
        engine.until(lambda: not engine.core.loaded.ok)
        status = engine.core.status()
        assert status.rejected_files == 1
        assert "agent.yaml" in status.rejected[0]
        assert engine.world.events("reload_finished")[-1]["rejected"] == 1
        engine.until(lambda: len(told) >= 2)
        assert told[-1] == "1 of 1 policies in force, 1 file rejected"


@pytest.mark.parametrize(("seconds", "told"), [(9, False), (47, True)])
def test_a_monitor_that_does_not_answer_is_told_before_it_is_given_up(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, seconds: int, told: bool
) -> None:
    (engine.policies / "a.yaml").write_text(PHYSICAL)
    with running(engine):
        engine.reloads(1)
    said = ContextReport("a", probe="vma")
    link = SimpleNamespace(silent_us=lambda _: seconds * 1_000_000, report=Report(0), pid=None)
    (name,) = engine.core.policies
    seating = SimpleNamespace(
        reconciler=engine.core.reconciler,
        link=link,
        seats={},
        fallbacks={},
        context=lambda _: said,
        is_userspace=lambda _: True,
    )
    monkeypatch.setattr(engine.core, "seating", seating)
    (policy,) = engine.core.status().policies
    assert policy.name == name
    assert any("not answered for 47 s" in note for note in policy.notes) is told
