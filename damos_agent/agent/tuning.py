"""The agent's own tuner: when it steps, and what is told of who tunes which goal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from damos_agent.agent.seating import Seating
from damos_agent.agent.survey import Machine
from damos_agent.agent.warden import Ward
from damos_agent.algo.goals import is_steered, why_agent
from damos_agent.algo.overlay import Hold
from damos_agent.algo.record import QuotaDecision
from damos_agent.algo.steer import Steering
from damos_agent.kernel.observe import read_stats
from damos_agent.model.damon import SchemeStats
from damos_agent.model.errors import KernelError
from damos_agent.model.policy import External, Policy
from damos_agent.model.status import GoalStatus, SchemeOutcome

if TYPE_CHECKING:
    from damos_agent.agent.pilot import Pilot


@dataclass(slots=True)
class Tuning:
    """One per agent. `outside` reads numbers from outside, `decided` hears of every step."""

    machine: Machine
    seating: Seating
    outside: Callable[[External, int], int | None]
    decided: Callable[[str, QuotaDecision], None]
    pilot: Pilot | None = None

    def is_needed(self, wards: Sequence[Ward]) -> bool:
        """Whether any of these has a goal of the agent's."""
        return any(is_steered(ward.policy, self.machine.features) for ward in wards)

    def step(
        self,
        wards: Sequence[Ward],
        holds: Mapping[str, Hold],
        slots: Mapping[str, int],
        now_us: int,
    ) -> dict[str, dict[int, int]]:
        """Quotas by policy and scheme that are to be others now. `slots`: of the kernel's."""
        mine = [ward for ward in wards if is_steered(ward.policy, self.machine.features)]
        if self.pilot is None:
            # Several modules, for those who have such goals.
            from damos_agent.agent.pilot import Pilot

            self.pilot = Pilot(self.machine, self.outside, self.decided)

        def stats(name: str) -> Sequence[SchemeStats] | None:
            return self.counters(name, slots.get(name, -1), now_us)

        return self.pilot.step(mine, holds, stats, now_us)

    def steerings(self, policy: Policy) -> list[Steering]:
        """How its schemes are steered now; of those that are."""
        if self.pilot is None:
            return []
        found = [self.pilot.steering(policy.name, i) for i in range(len(policy.schemes))]
        return [one for one in found if one is not None]

    def tuned(
        self, policy: Policy, schemes: tuple[SchemeOutcome, ...]
    ) -> tuple[SchemeOutcome, ...]:
        """With what is known of who tunes each goal, and how."""
        return tuple(
            replace(scheme, goals=tuple(self._goals(policy, scheme))) if scheme.goals else scheme
            for scheme in schemes
        )

    def _goals(self, policy: Policy, scheme: SchemeOutcome) -> Iterator[GoalStatus]:
        if scheme.index >= len(policy.schemes):
            return  # an outcome of the policy before its edit
        quota = policy.schemes[scheme.index].quota
        other = "monitor" if self.seating.is_userspace(policy.name) else "kernel"
        for told, goal in zip(scheme.goals, quota.goals if quota else (), strict=False):
            why = why_agent(goal, self.machine.features)
            if not why:
                yield replace(told, tuner=other)
                continue
            pilot = self.pilot
            steering = pilot.steering(policy.name, scheme.index) if pilot else None
            yield replace(
                told,
                tuner="agent",
                why=why,
                step=steering.reason.value if steering else "",
                current=pilot.value(policy.name, scheme.index, goal) if pilot else None,
            )

    def counters(self, name: str, slot: int, now_us: int) -> Sequence[SchemeStats] | None:
        """What the schemes of a policy have done so far, whoever serves it."""
        if self.seating.is_userspace(name):
            said = self.seating.context(name)
            if self.seating.link:
                self.seating.link.ask(now_us)  # for the next step: the answer is not waited for
            return said.schemes if said else None
        if slot not in self.seating.reconciler.ledger.slots:
            return None
        machine = self.machine
        try:
            stats = read_stats(
                machine.fs, machine.roots.sysfs, slot, machine.features, machine.sleep
            )
        except KernelError:
            return None
        return stats.schemes
