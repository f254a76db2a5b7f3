# SPDX-License-Identifier: Apache-2.0
"""The demo's acts: a policy dropped, edited, broken and removed beside a workload, and told.

Every claim printed is checked; one that is not true ends the demo with a failure.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from damos_agent.model.status import PolicyStatus
from tests.guest.measure import range_use
from tests.guest.rig import Rig, Workload, wait_for
from tests.vm.guestlib import kernel_series

HOT_MIB, COLD_MIB = 32, 192
_BAR_MIB = 6
_SAMPLE_S = 2.0

POLICY = """\
apiVersion: damos-agent/v1
kind: Policy
metadata:
  name: cold-memory
spec:
  mode: enforce
  target:
    process:
      cmdline: tests\\.guest\\.workload
  monitoring:
    sampling_interval: 5ms
    aggregation_interval: 100ms
  schemes:
    - action: pageout
      pattern:
        access_rate: {min: 0%, max: 0%}
        age: {min: 3s}
      quota:
        size: 8MiB
        interval: 1s
"""
OBSERVE = POLICY.replace("mode: enforce", "mode: observe")
FAST = POLICY.replace("8MiB", "32MiB")
BROKEN = POLICY.replace("8MiB", "64M")

AGENT = """\
apiVersion: damos-agent/v1
kind: Agent
spec:
  # Debian's kernel starts DAMON_STAT, which excludes other users of DAMON.
  damon_stat: suspend
  boot_grace: 0s
  outcome_interval: 2s
  follow_interval: 1s
"""

_TOLD: dict[str, tuple[str, ...]] = {
    "agent_started": ("kernel",),
    "agent_stopped": ("reason", "kdamonds"),
    "backend_changed": ("policy", "backend", "reason"),
    "kdamond_adopted": ("policy", "slot", "kdamond_pid"),
    "module_restored": ("module",),
    "module_suspended": ("module",),
    "monitor_ended": ("reason",),
    "monitor_started": ("monitor_pid",),
    "policy_loaded": ("policy", "mode"),
    "policy_rejected": ("policy", "findings"),
    "policy_removed": ("policy",),
    "policy_state_changed": ("policy", "state", "reason"),
    "policy_unsupported": ("policy", "reason"),
    "pool_created": ("slots",),
    "probe_selected": ("policy", "probe", "granularity"),
    "slot_committed": ("policy", "change", "writes", "reason"),
    "slot_failed": ("policy", "message"),
    "slot_started": ("policy", "slot", "kdamond_pid", "writes"),
    "slot_stopped": ("policy", "slot"),
    "reconcile_failed": ("message",),
}


def log_line(event: dict[str, Any], began: float) -> str:
    """An event for people: seconds since the show `began`, name, and what matters of it."""
    fields = [
        f"{name}={_value(event[name])}"
        for name in _TOLD[event["event"]]
        if event.get(name) not in (None, "")
    ]
    clock = time.strptime(event["timestamp"].partition(".")[0], "%Y-%m-%dT%H:%M:%S")
    seconds = _utc(clock) - began
    return f"  {seconds:5.0f} s  {event['event']}  {' '.join(fields)}".rstrip()


def _utc(clock: time.struct_time) -> float:
    import calendar

    return float(calendar.timegm(clock))


def _value(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(map(str, value))
    text = str(value)
    return f'"{text}"' if " " in text else text


def bar(rss_mib: float, swap_mib: float) -> str:
    """Resident and swapped memory as one bar, a mark for each 6 MiB."""
    return "█" * round(rss_mib / _BAR_MIB) + "░" * round(swap_mib / _BAR_MIB)


@dataclass(frozen=True, slots=True)
class Setting:
    """`place` in words; `obstacle`: why nothing can be paged out there; `swap` that was added."""

    place: str
    obstacle: str = ""
    swap: str = ""


@dataclass(slots=True)
class Stage:
    """The rig, the clock, and how much of the agent's log has been told."""

    rig: Rig
    work: Workload
    began: float = field(default_factory=time.time)
    told: int = 0

    def say(self, text: str) -> None:
        """A line of the narrator's."""
        print(text, flush=True)

    def act(self, text: str) -> None:
        """A heading."""
        self.say(f"\n{text}\n")

    def tell_log(self) -> None:
        """What the agent has logged since, as far as it matters here."""
        events = self.rig.events()
        for event in events[self.told :]:
            if event["event"] in _TOLD:
                self.say(log_line(event, self.began))
        self.told = len(events)

    def measure(self) -> None:
        """One line of the chart."""
        rss, swap = self.work.rss_mib(), self.work.swap_mib()
        now = time.time() - self.began
        self.say(f"  {now:5.0f} s  {rss:6.0f} MiB  {swap:6.0f} MiB  {bar(rss, swap)}")

    def chart(self, until: Callable[[], bool], seconds: float) -> None:
        """Measure every two seconds until it is so; AssertionError if it never is."""
        self.say("   time    resident     in swap   (█ resident ░ in swap)")
        deadline = time.monotonic() + seconds
        while True:
            self.measure()
            if until():
                return
            if time.monotonic() > deadline:
                raise AssertionError("that was expected to happen, and did not")
            time.sleep(_SAMPLE_S)

    def expect(self, what: str, true: bool) -> None:
        """Say what is true; AssertionError if it is not."""
        if not true:
            raise AssertionError(f"not true: {what}")
        self.say(f"  ✓ {what}")

    def run(self, *command: str) -> None:
        """Show a command and what it prints."""
        self.say(f"  $ {' '.join(command)}")
        program = [str(Path(sys.prefix, "bin", command[0])), "--run-root", str(self.rig.run)]
        done = subprocess.run([*program, *command[1:]], capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            self.say(f"  {line}".rstrip())

    def policy(self) -> PolicyStatus:
        """The policy as the agent sees it; it must be active."""
        return self.rig.wait_state("cold-memory", "active")


def show(base: Path, setting: Setting) -> int:
    """All acts below directory `base`; 0 if every claim was true."""
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a TextIOWrapper
    rig = Rig(base, emulated=kernel_series() is not None)
    rig.policies.mkdir(parents=True)
    (rig.policies.parent / "agent.yaml").write_text(AGENT)
    try:
        stage = Stage(rig, rig.workload(HOT_MIB, COLD_MIB))
        if setting.obstacle:
            _play_for_watching(stage, setting)
        else:
            _play(stage, setting)
    except AssertionError as error:
        print(f"\nThe demo failed: {error}", flush=True)
        return 1
    finally:
        rig.close()
    return 0


def _introduce(stage: Stage, setting: Setting, policy: str) -> PolicyStatus:
    rig, work = stage.rig, stage.work
    stage.act(f"1. On {setting.place}: a process and a policy")
    stage.say(f"  A process (pid {work.pid}) uses {HOT_MIB} MiB all the time, and has touched")
    stage.say(f"  another {COLD_MIB} MiB once.")
    if setting.swap:
        stage.say(f"  The machine has little swap: the demo adds {setting.swap}.")
    stage.say("  This policy goes into policies.d/:\n")
    stage.say("".join(f"    {line}\n" for line in policy.splitlines()).rstrip("\n"))
    rig.start()
    rig.put("cold-memory", policy)
    first = rig.wait_state("cold-memory", "active", "observing")
    stage.say("\n  The agent:\n")
    stage.tell_log()
    return first


def _play_for_watching(stage: Stage, setting: Setting) -> None:
    """What can be shown where nothing can be paged out: how much would be."""
    stage.say(f"Nothing is paged out: {setting.obstacle}. So it is shown what would be.")
    _introduce(stage, setting, OBSERVE)
    stage.act("2. What is cold is found, and nothing is done about it")
    wait_for("the cold part to be found", lambda: _matched_mib(stage.rig) > COLD_MIB * 0.9, 60)
    time.sleep(2 * _SAMPLE_S)
    stage.run("damosctl", "status")
    matched = _matched_mib(stage.rig)
    stage.expect(f"{matched:.0f} MiB match the policy", matched < COLD_MIB + 96)
    stage.expect("all memory is where it was", stage.work.swap_mib() == 0)
    code = stage.rig.stop()
    stage.tell_log()
    stage.expect("the agent has left", code == 0)


def _matched_mib(rig: Rig) -> float:
    told = rig.policy("cold-memory")
    matched = told.schemes[0].matched_bytes if told and told.schemes else None
    return (matched or 0) / 2**20


def _play(stage: Stage, setting: Setting) -> None:
    rig, work = stage.rig, stage.work
    first = _introduce(stage, setting, POLICY)
    who = _who(rig, first)

    stage.act("2. What is cold goes, at most 8 MiB a second")
    stage.chart(lambda: work.swap_mib() > COLD_MIB / 3, 60)

    stage.act("3. The quota is edited to 32 MiB while it runs")
    loaded = len(rig.events("policy_loaded"))
    rig.put("cold-memory", FAST)
    wait_for("the edit", lambda: _in_force(rig, first, loaded))
    stage.tell_log()
    stage.expect(f"{who} goes on with all it has learned", _who(rig, stage.policy()) == who)
    stage.say("")
    stage.chart(lambda: work.swap_mib() > COLD_MIB * 0.85, 90)
    stage.say("")
    stage.run("damosctl", "status")

    states = {event["state"] for event in rig.events("policy_state_changed")}
    stage.expect("the policy has been active since it began", states <= {"waiting", "active"})
    stage.expect("it is now", stage.policy().state == "active")

    stage.act("4. An edit with an error in it")
    rig.put("cold-memory", BROKEN)
    wait_for("the rejection", lambda: rig.events("policy_rejected"))
    stage.tell_log()
    status = stage.policy()
    still = _who(rig, status) == who and status.stale_since is not None
    stage.expect("the last good version goes on", still)

    stage.act("5. The policy is removed")
    rig.remove("cold-memory")
    wait_for("the removal", lambda: _is_idle(rig))
    stage.tell_log()
    code = rig.stop()
    stage.tell_log()
    stage.expect("the agent has undone everything and left", code == 0)
    rss = work.rss_mib()
    stage.expect(
        f"what is in use stayed: {rss:.0f} of {HOT_MIB + COLD_MIB} MiB are resident",
        HOT_MIB * 0.9 < rss < HOT_MIB + COLD_MIB / 4,
    )
    hot = range_use(work.pid, work.hot)
    stage.expect(f"of them {hot.rss:.0f} of the {HOT_MIB} in use", hot.rss > HOT_MIB * 0.9)


def _who(rig: Rig, policy: PolicyStatus) -> str:
    """Who monitors and acts, in words that name the very thread or process."""
    if policy.backend == "kernel":
        return f"the same kdamond ({policy.kdamond_pid})"
    return f"the same monitor process ({rig.status().monitor_pid})"


def _in_force(rig: Rig, policy: PolicyStatus, loaded: int) -> bool:
    if policy.backend != "kernel":
        return len(rig.events("policy_loaded")) > loaded
    events = rig.events("slot_committed")
    return any(e["change"] == "commit" and "quotas/bytes" in e["reason"] for e in events)


def _is_idle(rig: Rig) -> bool:
    status = rig.status()
    return not status.policies and status.pool == 0 and status.monitor_pid is None
