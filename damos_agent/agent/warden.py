"""Says what may not act: kill switches, the time after boot, and guards.

While something acts it looks twice a second. What harm is read from is loaded, and read, only when
a policy pages out (`agent.harm_watch`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from damos_agent.agent.events import Event, Logger, emit
from damos_agent.agent.held import EVERYTHING, Held, find_hold, is_disabled, load_held, save_held
from damos_agent.agent.survey import Machine
from damos_agent.algo.goals import is_steered
from damos_agent.algo.guard import Guard, Signal, Stage
from damos_agent.algo.overlay import FREE, Hold, has_auto_age, pages_out
from damos_agent.algo.record import GuardDecision
from damos_agent.host.system import read_boot_id
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError
from damos_agent.model.policy import External, Policy
from damos_agent.model.settings import Settings

if TYPE_CHECKING:
    from damos_agent.agent.harm_watch import HarmWatch
    from damos_agent.algo.signals import Look

FAST_US: Final = 500_000
"""An action stops within a second of the breach: half of it for seeing, half for stopping."""


@dataclass(frozen=True, slots=True)
class Ward:
    """A policy that is carried out. `workers`: pids of its kdamond or of the monitor process."""

    policy: Policy
    processes: tuple[Placement, ...] = ()
    workers: tuple[int, ...] = ()


def _unknown(_source: External, _now_us: int) -> int | None:
    return None


def _nobody(_name: str, _decision: GuardDecision) -> None:
    """Nobody listens."""


@dataclass(slots=True)
class Warden:
    """One per agent. `keeps`: what is held outlives a restart. `outside` reads external numbers,
    `decided` hears of every step of a guard.
    """

    machine: Machine
    logger: Logger
    keeps: bool = True
    outside: Callable[[External, int], int | None] = _unknown
    decided: Callable[[str, GuardDecision], None] = _nobody
    held: Held = field(default_factory=Held)
    watch: HarmWatch | None = None
    _holds: dict[str, Hold] = field(default_factory=dict)
    _disabled: bool = False

    def adopt(self) -> None:
        """Take over what the last run held."""
        machine = self.machine
        boot_id = read_boot_id(machine.fs, machine.roots)
        try:
            self.held = load_held(machine.roots.run, boot_id)
        except HostError as error:
            self.held = Held(boot_id)
            self._complain(error)

    def hold(
        self, policies: Mapping[str, Policy], settings: Settings, now_us: int
    ) -> dict[str, Hold]:
        """What holds each policy now."""
        guards = {
            name: state
            for name, state in self.held.guards.items()
            if name in policies and pages_out(policies[name])
        }
        features = self.machine.features
        sizes = {
            name: one
            for name, one in self.held.sizes.items()
            if name in policies and is_steered(policies[name], features)
        }
        ages = {
            name: age
            for name, age in self.held.ages.items()
            if name in policies and has_auto_age(policies[name])
        }
        self._keep(replace(self.held, guards=guards, sizes=sizes, ages=ages))
        if self.watch:
            self.watch.forget_all_but(policies)
        run, grace_us = self.machine.roots.run, settings.boot_grace_us
        self._disabled = is_disabled(run)
        self._holds = {
            name: find_hold(policy, self.held, features, run, now_us, grace_us)
            for name, policy in policies.items()
        }
        return self._holds

    @property
    def holds(self) -> Mapping[str, Hold]:
        """What holds each policy, as of the last round."""
        return self._holds

    def of(self, name: str) -> Hold:
        """What holds that policy, as of the last round."""
        return self._holds.get(name, FREE)

    def guard_of(self, name: str) -> Guard:
        """How far that policy's guard has gone."""
        return self.held.guards.get(name, Guard())

    def signals_of(self, name: str) -> tuple[Signal, ...]:
        """How much of each limit is used up, as of the last look."""
        return self.watch.signals_of(name) if self.watch else ()

    def look_of(self, name: str) -> Look | None:
        """The counters of the last look."""
        return self.watch.look_of(name) if self.watch else None

    def look(self, wards: Sequence[Ward], settings: Settings, now_us: int) -> bool:
        """Whether something is to be held, or let go, that was not before."""
        changed = self._switched(settings, now_us)
        guarded = [ward for ward in wards if pages_out(ward.policy)]
        if not guarded:
            return changed
        watch = self.watch or self._begin_watch()
        guards = self.held.guards
        for name, after in watch.look(guarded, guards, now_us).items():
            before = guards.get(name, Guard())
            self.decided(name, GuardDecision(now_us, before, watch.signals_of(name), after))
            self._keep(replace(self.held, guards={**self.held.guards, name: after}))
            if (after.stage, after.share_bp) != (before.stage, before.share_bp):
                self._tell(name, before, after)
                changed = True
        return changed

    def _begin_watch(self) -> HarmWatch:
        # Several modules, for those who page out.
        from damos_agent.agent.harm_watch import HarmWatch

        self.watch = HarmWatch(self.machine, self.outside)
        return self.watch

    def pause(self, name: str) -> None:
        """Nothing of that policy, or of all (`EVERYTHING`), acts any more. Raises `HostError`."""
        self._keep(replace(self.held, paused=self.held.paused | {name}), strict=True)

    def resume(self, name: str) -> None:
        """It acts again, also where a guard held it. Raises `HostError`."""
        held = self.held
        if name == EVERYTHING:
            self._keep(replace(held, paused=frozenset(), guards={}), strict=True)
            return
        if EVERYTHING in held.paused:
            raise HostError(
                "everything is paused, not this policy alone",
                hint="resume everything: damosctl resume",
            )
        guards = {n: state for n, state in held.guards.items() if n != name}
        self._keep(replace(held, paused=held.paused - {name}, guards=guards), strict=True)

    def steer(self, name: str, sizes: Mapping[int, int]) -> None:
        """These are that policy's quotas from now on."""
        if self.held.sizes.get(name, {}) != sizes:
            every = {**self.held.sizes, name: dict(sizes)}
            self._keep(replace(self.held, sizes={n: one for n, one in every.items() if one}))

    def found_out(self, ages: Mapping[str, int]) -> None:
        """These are the ages for `age: auto` from now on, by policy."""
        self._keep(replace(self.held, ages=dict(ages)))

    def close(self) -> None:
        """Give descriptors back."""
        if self.watch:
            self.watch.close()

    def _switched(self, settings: Settings, now_us: int) -> bool:
        """Whether the kill switch was thrown, or the time after boot is over, since last held."""
        run = self.machine.roots.run
        if is_disabled(run) != self._disabled:
            return True
        if self._disabled or now_us < settings.boot_grace_us:
            return False
        paused = self.held.paused
        return any(h.all_why and not paused & {n, EVERYTHING} for n, h in self._holds.items())

    def _tell(self, name: str, before: Guard, after: Guard) -> None:
        emit(
            self.logger,
            Event.GUARD_CHANGED,
            policy=name,
            stage=after.stage.value,
            was=before.stage.value,
            share_bp=after.share_bp,
            signal=after.signal,
            reason=after.why,
            until_us=after.until_us if after.stage is Stage.TRIPPED else None,
        )

    def _keep(self, held: Held, *, strict: bool = False) -> None:
        if held == self.held:
            return
        if strict and self.keeps:
            save_held(self.machine.roots.run, held)
            self.held = held
            return
        self.held = held
        if not self.keeps:
            return
        try:
            save_held(self.machine.roots.run, held)
        except HostError as error:
            self._complain(error)

    def _complain(self, error: HostError) -> None:
        emit(
            self.logger,
            Event.STATE_UNUSABLE,
            path=error.path or self.machine.roots.run,
            message=error.message,
            hint=error.hint,
        )
