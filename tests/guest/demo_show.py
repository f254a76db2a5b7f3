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
from tests.guest.rig import Rig, Workload, wait_for

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
FAST = POLICY.replace("8MiB", "32MiB")
BROKEN = POLICY.replace("8MiB", "64M")

AGENT = """\
apiVersion: damos-agent/v1
kind: Agent
spec:
  # Debian's kernel starts DAMON_STAT, which excludes other users of DAMON.
  damon_stat: suspend
  outcome_interval: 2s
  follow_interval: 1s
"""

_TOLD: dict[str, tuple[str, ...]] = {
    "agent_started": ("kernel",),
    "agent_stopped": ("reason", "kdamonds"),
    "kdamond_adopted": ("policy", "slot", "kdamond_pid"),
    "module_restored": ("module",),
    "module_suspended": ("module",),
    "policy_loaded": ("policy", "mode"),
    "policy_rejected": ("policy", "findings"),
    "policy_removed": ("policy",),
    "policy_state_changed": ("policy", "state", "reason"),
    "policy_unsupported": ("policy", "reason"),
    "pool_created": ("slots",),
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


def show(base: Path, place: str) -> int:
    """All acts below directory `base`; 0 if every claim was true."""
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a TextIOWrapper
    rig = Rig(base)
    rig.policies.mkdir(parents=True)
    (rig.policies.parent / "agent.yaml").write_text(AGENT)
    try:
        stage = Stage(rig, rig.workload(HOT_MIB, COLD_MIB))
        _play(stage, place)
    except AssertionError as error:
        print(f"\nThe demo failed: {error}", flush=True)
        return 1
    finally:
        rig.close()
    return 0


def _play(stage: Stage, place: str) -> None:
    rig, work = stage.rig, stage.work
    stage.act(f"1. On {place}: a process and a policy")
    stage.say(f"  A process (pid {work.pid}) uses {HOT_MIB} MiB all the time, and has touched")
    stage.say(f"  another {COLD_MIB} MiB once. This policy goes into policies.d/:\n")
    stage.say("".join(f"    {line}\n" for line in POLICY.splitlines()).rstrip("\n"))
    rig.start()
    rig.put("cold-memory", POLICY)
    first = stage.policy()
    stage.say("\n  The agent:\n")
    stage.tell_log()

    stage.act("2. What is cold goes, at most 8 MiB a second")
    stage.chart(lambda: work.swap_mib() > COLD_MIB / 3, 60)

    stage.act("3. The quota is edited to 32 MiB while it runs")
    rig.put("cold-memory", FAST)
    wait_for("the commit", lambda: _committed(rig))
    stage.tell_log()
    again = stage.policy()
    same = again.kdamond_pid == first.kdamond_pid
    stage.expect(f"the same kdamond ({again.kdamond_pid}) goes on with all it has learned", same)
    stage.say("")
    stage.chart(lambda: work.swap_mib() > COLD_MIB * 0.85, 90)
    stage.say("")
    stage.run("damosctl", "status")

    stage.act("4. An edit with an error in it")
    rig.put("cold-memory", BROKEN)
    wait_for("the rejection", lambda: rig.events("policy_rejected"))
    stage.tell_log()
    status = stage.policy()
    still = status.kdamond_pid == first.kdamond_pid and status.stale_since is not None
    stage.expect("the last good version goes on", still)

    stage.act("5. The policy is removed")
    rig.remove("cold-memory")
    wait_for("the removal", lambda: rig.status().pool == 0)
    stage.tell_log()
    code = rig.stop()
    stage.tell_log()
    stage.expect("the agent has undone everything and left", code == 0)
    rss = work.rss_mib()
    stage.expect(
        f"what is in use stayed: {rss:.0f} of {HOT_MIB + COLD_MIB} MiB are resident",
        HOT_MIB * 0.9 < rss < HOT_MIB + COLD_MIB / 4,
    )


def _committed(rig: Rig) -> bool:
    events = rig.events("slot_committed")
    return any(e["change"] == "commit" and "quotas/bytes" in e["reason"] for e in events)
