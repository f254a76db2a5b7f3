"""Guards and kill switches, from counters to what DAMON is told, on a simulated machine."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from damos_agent.agent.harm_watch import CALM_US
from damos_agent.agent.held import is_disabled, load_held
from damos_agent.agent.loop import monotonic_us
from damos_agent.agent.warden import Warden
from damos_agent.algo.guard import Stage
from damos_agent.model.errors import HostError
from damos_agent.model.policy import External
from damos_agent.model.status import PolicyState
from tests.agent.engine import Engine, edit, running
from tests.agent.world import BOOT_ID
from tests.config import samples

PHYS = samples.policy("phys", target="{physical: {}}", mode="enforce")
OTHER = samples.policy("other", target="{process: {exe: work}}", mode="enforce")
SORTS = samples.policy("sorts", target="{physical: {}}", mode="enforce", action="lru_prio").replace(
    "access_rate: {max: 0%}", "access_rate: {min: 50%}"
)
MEMINFO = "MemTotal: 1048576 kB\nMemFree: 524288 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"
BUDGET = 262  # 0.2 % of the pages of 512 MiB


class Bench:
    """An engine with one machine's counters to turn."""

    def __init__(self, root: Path, kernel: str = "7.3") -> None:
        root.chmod(0o755)
        self.engine = Engine(root, kernel)
        self.files = self.engine.world.machine.files
        self.files["/proc/meminfo"] = MEMINFO
        self.refaults = 0
        self.turn(0)

    def turn(self, pages: int) -> None:
        """So many more pages were needed again."""
        self.refaults += pages
        self.files["/proc/vmstat"] = f"workingset_refault_anon {self.refaults}\n"

    def put(self, text: str, name: str = "a") -> None:
        edit(self.engine.policies / f"{name}.yaml", text)

    def action(self, index: int = 0) -> str:
        return self.engine.world.damon.running(index)["schemes/0/action"]

    def quota(self) -> int:
        return int(self.engine.world.damon.running(0)["schemes/0/quotas/bytes"])

    def look(self, seconds: float = 0.5) -> bool:
        """A look so much later, with what follows from it."""
        self.engine.world.advance(seconds)
        changed = self.engine.core.look_for_harm()
        if changed:
            self.engine.core.reconcile()
        return changed

    def state(self, name: str = "phys") -> PolicyState:
        return self.engine.core.standings[name].state

    def status(self, name: str = "phys") -> Any:
        return next(p for p in self.engine.core.status().policies if p.name == name)

    def told(self) -> list[tuple[object, object]]:
        events = self.engine.world.events("guard_changed")
        return [(event["stage"], event["share_bp"]) for event in events]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.put(PHYS)
    return made


def test_a_breach_stops_page_out_at_the_next_look_and_monitoring_goes_on(bench: Bench) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        assert (bench.action(), bench.state()) == ("pageout", PolicyState.ACTIVE)
        assert not bench.look()
        bench.turn(BUDGET)
        assert bench.look()
        assert (bench.action(), bench.state()) == ("stat", PolicyState.PAUSED)
        assert bench.engine.world.damon.running(0)["schemes/0/quotas/bytes"] == str(100 << 20)
        reason = bench.engine.core.standings["phys"].reason
        assert f"guard: {BUDGET} pages were needed again" in reason
        assert bench.told() == [("paused", 0)]
        guard = bench.status().guard
        assert (guard.stage, guard.signal, guard.levels["refaults"]) == (
            "paused",
            "refaults",
            10_000,
        )


def test_in_sync_again_nothing_more_is_written(bench: Bench) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.look()
        bench.turn(BUDGET)
        bench.look()
        writes = bench.engine.world.journal.writes
        for _ in range(10):
            bench.look()
        assert bench.engine.world.journal.writes == writes
        assert bench.engine.core.reconcile().plan.empty  # type: ignore[union-attr]


def test_calm_lets_it_go_on_slowly_and_then_whole(bench: Bench) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.look()
        bench.turn(BUDGET)
        bench.look()
        for _ in range(59):
            bench.look(1)
            assert bench.action() == "stat"
        quotas = []
        for _ in range(60):
            bench.look(1)
            if bench.action() == "pageout":
                quotas.append(bench.quota())
        assert list(dict.fromkeys(quotas)) == [
            (100 << 20) * share // 10_000 for share in (625, 1_250, 2_500, 5_000, 10_000)
        ]
        assert bench.state() is PolicyState.ACTIVE
        assert bench.told()[-1] == ("free", 10_000)


def test_far_over_it_trips_and_holds_off(bench: Bench) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.look()
        bench.turn(4 * BUDGET)
        bench.look()
        guard = bench.status().guard
        assert (guard.stage, guard.trips) == ("tripped", 1)
        assert 59 <= guard.until_s <= 60
        (event,) = bench.engine.world.events("guard_changed")
        assert event["until_us"]


def test_a_restart_keeps_the_hold_off_and_a_boot_does_not(bench: Bench, tmp_path: Path) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.look()
        bench.turn(4 * BUDGET)
        bench.look()
        bench.engine.core.pause("phys")
    run = str(tmp_path / "run")
    warden = Warden(bench.engine.core.machine, bench.engine.core.logger)
    warden.adopt()
    assert warden.guard_of("phys").stage is Stage.TRIPPED
    assert warden.held.paused == {"phys"}
    assert load_held(run, "another boot").guards == {}
    bench.files["/proc/sys/kernel/random/boot_id"] = "another boot"
    warden.adopt()
    assert (warden.held.paused, warden.held.guards) == (frozenset(), {})


def test_a_record_that_makes_no_sense_is_told_and_starts_anew(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "run/held.json").write_text('{"kind": "Held", "paused": 5}')
    warden = bench.engine.core.warden
    warden.adopt()
    (event,) = bench.engine.world.events("state_unusable")
    assert "held.json" in str(event["path"])
    with pytest.raises(HostError):
        load_held(str(tmp_path / "run"), BOOT_ID)
    assert warden.held.boot_id == BOOT_ID


def test_what_only_sorts_memory_is_not_guarded(bench: Bench) -> None:
    bench.put(SORTS)
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.turn(100 * BUDGET)
        assert not bench.look()
        assert bench.action() == "lru_prio"
        assert bench.status("sorts").guard is None


def test_a_policy_that_was_limited_is_forgotten_with_it(bench: Bench) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.look()
        bench.turn(4 * BUDGET)
        bench.look()
        assert bench.engine.core.warden.held.guards
        (bench.engine.policies / "a.yaml").unlink()
        bench.engine.until(lambda: not bench.engine.core.standings)
        assert not bench.engine.core.warden.held.guards


def test_an_edit_does_not_end_a_hold_off(bench: Bench) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.look()
        bench.turn(4 * BUDGET)
        bench.look()
        bench.put(PHYS.replace("100MiB", "50MiB"))
        bench.engine.until(lambda: bench.quota() == 50 << 20)
        assert (bench.action(), bench.state()) == ("stat", PolicyState.PAUSED)


def test_resume_ends_it_at_once(bench: Bench) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.look()
        bench.turn(4 * BUDGET)
        bench.look()
        bench.engine.loop.switch(lambda: bench.engine.core.resume("phys"))
        assert (bench.action(), bench.state()) == ("pageout", PolicyState.ACTIVE)


def test_calm_machines_policies_are_looked_at_twice_a_minute(bench: Bench) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.look()
        del bench.files["/proc/meminfo"]  # who needs it now looks at policies
        for _ in range(20):
            bench.look()
        watch = bench.engine.core.warden.watch
        assert watch is not None
        assert len(watch._watched["phys"].looks) == 1
        bench.turn(40)
        bench.look()
        assert len(watch._watched["phys"].looks) == 2
        bench.look(CALM_US / 1e6)
        assert len(watch._watched["phys"].looks) == 3


def test_looks_that_are_dear_are_rarer(bench: Bench) -> None:
    """Twenty milliseconds each, as with two thousand processes: every two seconds at most."""
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.look()
        watch = bench.engine.core.warden.watch
        assert watch is not None
        spent = iter(range(0, 10**9, 20_000))
        watch.own_cpu_us = lambda: next(spent)
        for _ in range(40):
            bench.turn(40)  # it stirs all the time
            bench.look()
        times = [look.at_us for look in watch._watched["phys"].looks]
        assert min(b - a for a, b in pairwise(times[1:])) >= 2_000_000


def test_a_trickle_adds_up(bench: Bench) -> None:
    """So few at once never stir anything, but in a minute they are too many."""
    with running(bench.engine):
        bench.engine.reloads(1)
        for _ in range(100):
            bench.turn(6)
            bench.look()
        assert bench.state() is PolicyState.PAUSED


def test_counters_that_cannot_be_read_slow_down(bench: Bench) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.look()
        del bench.files["/proc/vmstat"]
        bench.look()
        assert bench.quota() == 50 << 20
        assert "cannot be read" in bench.status().guard.why


def test_a_cgroup_that_cannot_be_read_slows_its_policy_down(bench: Bench) -> None:
    """And nothing worse: there is no cgroup hierarchy at all."""
    bench.engine.world.spawn("a")
    bench.files |= {
        "/sys/fs/cgroup/cgroup.controllers": "memory\n",
        "/sys/fs/cgroup/a/cgroup.procs": f"{bench.engine.world.spawn('a')}\n",
    }
    bench.put(samples.policy("a", target="{cgroup: {path: /a}}", mode="enforce"))
    with running(bench.engine):
        bench.engine.reloads(1)
        del bench.files["/sys/fs/cgroup/cgroup.controllers"]
        bench.look()
        assert bench.told() == [("slow", 5_000)]


def test_each_policy_pays_for_itself(bench: Bench) -> None:
    """Faults of one target's processes are no reason to stop another's page-out."""
    pid = bench.engine.world.spawn("work")
    bench.put(OTHER, "b")
    bench.put(PHYS.replace("spec:", "spec:\n  guard: {refaults: max}"))
    with running(bench.engine):
        bench.engine.until(lambda: len(bench.engine.core.standings) == 2)
        bench.look()
        stat = f"/proc/{pid}/stat"
        fields = bench.files[stat].split()
        fields[11] = str(int(fields[11]) + 5_000)
        bench.files[stat] = " ".join(fields)
        bench.turn(5_000)
        bench.look()
        assert bench.state("other") is PolicyState.PAUSED
        assert bench.state("phys") is PolicyState.ACTIVE


def test_a_cgroup_at_its_own_limit_does_not_stop_its_neighbour(bench: Bench) -> None:
    world = bench.engine.world
    for name in ("a", "b"):
        pid = world.spawn(name)
        base = f"/sys/fs/cgroup/{name}"
        bench.files |= {
            "/sys/fs/cgroup/cgroup.controllers": "memory\n",
            f"{base}/cgroup.procs": f"{pid}\n",
            f"{base}/memory.stat": "workingset_refault_anon 0\n",
            f"{base}/memory.current": f"{512 << 20}\n",
        }
        policy = samples.policy(name, target=f"{{cgroup: {{path: /{name}}}}}", mode="enforce")
        bench.put(policy, name)
    with running(bench.engine):
        bench.engine.until(lambda: len(bench.engine.core.standings) == 2)
        bench.look()
        before = world.damon.running(1)
        bench.files["/sys/fs/cgroup/a/memory.stat"] = "workingset_refault_anon 90000\n"
        bench.turn(90_000)
        bench.look()
        assert (bench.state("a"), bench.state("b")) == (PolicyState.PAUSED, PolicyState.ACTIVE)
        assert world.damon.running(1) == before


def test_numbers_from_outside_count(bench: Bench, tmp_path: Path) -> None:
    p99 = tmp_path / "p99"
    p99.write_text("150\n")
    limit = f"{{file: {p99}, max: 200}}"
    bench.put(PHYS.replace("spec:", f"spec:\n  guard: {{external: [{limit}]}}"))
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.look()
        assert bench.quota() == 50 << 20  # 75 % of it is close
        p99.write_text("250\n")
        bench.look()
        assert bench.action() == "stat"
        assert f"{p99} is 250, of 200 allowed" in bench.engine.core.standings["phys"].reason


@pytest.mark.parametrize("name", ["phys", ""])
def test_pause_and_resume_by_request(bench: Bench, name: str) -> None:
    core, loop = bench.engine.core, bench.engine.loop
    with running(bench.engine):
        bench.engine.reloads(1)
        loop.switch(lambda: core.pause(name))
        assert (bench.action(), bench.state()) == ("stat", PolicyState.PAUSED)
        assert "damosctl resume" in core.standings["phys"].reason
        assert not bench.look(120)
        loop.switch(lambda: core.resume(name))
        assert (bench.action(), bench.state()) == ("pageout", PolicyState.ACTIVE)


def test_whom_nobody_knows_cannot_be_paused(bench: Bench) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        with pytest.raises(HostError, match="no policy fys") as caught:
            bench.engine.core.pause("fys")
        assert caught.value.hint == "there are: phys"
        bench.engine.core.pause("")
        with pytest.raises(HostError, match="everything is paused"):
            bench.engine.core.resume("phys")


def test_a_pause_that_cannot_be_kept_is_refused(bench: Bench, tmp_path: Path) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        os.mkdir(tmp_path / "run/held.json")
        with pytest.raises(HostError, match="cannot keep what is paused"):
            bench.engine.core.pause("phys")
        assert not bench.engine.core.warden.held.paused


def test_the_file_that_disables_everything(bench: Bench, tmp_path: Path) -> None:
    disable = tmp_path / "run/disable"
    with running(bench.engine):
        bench.engine.reloads(1)
        disable.touch()
        assert is_disabled(str(tmp_path / "run"))
        assert bench.look()
        assert (bench.action(), bench.state()) == ("stat", PolicyState.PAUSED)
        assert "disable exists" in bench.engine.core.standings["phys"].reason
        assert not bench.look()
        disable.unlink()
        assert bench.look()
        assert (bench.action(), bench.state()) == ("pageout", PolicyState.ACTIVE)


def test_it_is_noticed_by_the_loop_itself(bench: Bench, tmp_path: Path) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        assert bench.engine.loop.schedule.due["guard"] <= monotonic_us() + 500_000
        (tmp_path / "run/disable").touch()
        bench.engine.until(lambda: bench.action() == "stat")


def test_who_only_observes_is_not_looked_after(bench: Bench) -> None:
    bench.put(PHYS.replace("enforce", "observe"))
    with running(bench.engine):
        bench.engine.reloads(1)
        assert "guard" not in bench.engine.loop.schedule.due
        assert bench.engine.core.warden.watch is None


def test_soon_after_boot_nothing_acts(bench: Bench) -> None:
    bench.files["/proc/uptime"] = "20.00 1.00\n"
    with running(bench.engine):
        bench.engine.reloads(1)
        assert (bench.action(), bench.state()) == ("stat", PolicyState.PAUSED)
        assert "boot_grace" in bench.engine.core.standings["phys"].reason
        assert not bench.look(39)
        assert bench.look(1)
        assert (bench.action(), bench.state()) == ("pageout", PolicyState.ACTIVE)


def test_a_kernel_that_must_prime_quotas_goes_on_after_a_pause(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "6.12")
    bench.put(PHYS)
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.engine.world.advance(5)
        bench.engine.core.reconcile()
        bench.look()
        bench.turn(BUDGET)
        bench.look()
        assert bench.action() == "stat"
        bench.engine.loop.switch(lambda: bench.engine.core.resume("phys"))
        tree = bench.engine.world.damon.running(0)
        assert tree["schemes/0/action"] == "pageout"
        assert tree["schemes/0/access_pattern/sz/max"] != "0"


def test_what_is_held_is_plain_json(bench: Bench, tmp_path: Path) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.engine.core.pause("phys")
    document = json.loads((tmp_path / "run/held.json").read_text())
    assert document["paused"] == ["phys"]


def test_numbers_that_are_fed_grow_old() -> None:
    from damos_agent.agent.outside import Outside

    outside = Outside()
    source = External(feed="p99", stale_us=1_000_000)
    assert outside.read(source, 0) is None
    outside.feed("p99", 7, 0)
    assert outside.read(source, 1_000_000) == 7
    assert outside.read(source, 1_000_001) is None


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "99999999999999999999999"])
def test_files_that_hold_no_number_are_unknown(tmp_path: Path, text: str) -> None:
    from damos_agent.agent.outside import Outside

    path = tmp_path / "n"
    path.write_text(text)
    outside = Outside(wall=lambda: path.stat().st_mtime)
    assert outside.read(External(path=str(path)), 0) is None
    path.write_text("12 ms\n")
    assert outside.read(External(path=str(path)), 0) == 12
    late = Outside(wall=lambda: path.stat().st_mtime + 61)
    assert late.read(External(path=str(path)), 0) is None
    assert outside.read(External(path=str(path) + "x"), 0) is None
