"""Outcome records: made, logged, and kept in a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from damos_agent.agent.bookkeeper import Bookkeeper, Circumstances
from damos_agent.agent.events import Event, Logger, emit
from damos_agent.agent.outcome import PolicyOutcome
from damos_agent.agent.outcome_file import NAME, OutcomeFile
from damos_agent.agent.survey import Machine
from damos_agent.agent.tuning import Tuning
from damos_agent.agent.warden import Ward, Warden
from damos_agent.algo.guard import Guard
from damos_agent.algo.overlay import pages_out
from damos_agent.model.codec import Json, encode
from damos_agent.model.settings import Settings
from damos_agent.model.status import PolicyState, Worth


@dataclass(slots=True)
class Recorder:
    """One per agent. `keeps`: also in a file, which a dry run does not. `worths`: by policy."""

    machine: Machine
    logger: Logger
    warden: Warden
    tuning: Tuning
    books: Bookkeeper
    keeps: bool = True
    worths: dict[str, Worth] = field(default_factory=dict)
    _complaint: str = ""

    def forget_all_but(self, names: frozenset[str]) -> None:
        """The others have gone."""
        self.books.forget_all_but(names)
        self.worths = {name: one for name, one in self.worths.items() if name in names}

    def keep(
        self,
        ward: Ward,
        outcome: PolicyOutcome,
        state: PolicyState,
        settings: Settings,
        now_us: int,
    ) -> None:
        """The record of that policy since its last one."""
        policy, look = ward.policy, self.warden.look_of(ward.policy.name)
        now = Circumstances(
            digest=policy.origin.digest,
            state=state.value,
            backend="userspace" if outcome.probe else "kernel",
            hold=self.warden.of(policy.name),
            guard=self.warden.guard_of(policy.name) if pages_out(policy) else Guard(),
            signals=self.warden.signals_of(policy.name),
            steering=self.tuning.steerings(policy),
            refaults=look.refaults if look else None,
            resident=look.resident if look else None,
        )
        schemes = self.tuning.tuned(policy, outcome.schemes)
        made = self.books.record(ward, schemes, now, now_us)
        self.worths[policy.name] = Worth(
            made.limited_by,
            made.reason,
            made.interval_us,
            now.refaults,
            made.savings.gross if made.savings else None,
            made.net,
            made.cpu_us,
        )
        record = encode(made)
        if self.keeps:
            self._write(record, settings)
        del record["schemes"]  # they have lines of their own
        emit(
            self.logger,
            Event.POLICY_OUTCOME,
            policy=policy.name,
            limited_by=record["limited_by"],
            reason=record["reason"],
            record=record,
        )

    def _write(self, record: Json, settings: Settings) -> None:
        kept = settings.outcomes
        path = f"{self.machine.roots.run}/{NAME}" if kept.file is None else kept.file
        if not path:
            return
        complaint = ""
        try:
            line = json.dumps(record, separators=(",", ":"))
            OutcomeFile(path, kept.most_bytes, kept.keep).append(line)
        except OSError as error:
            complaint = f"outcome records cannot be written: {error.strerror or error}"
        if complaint and complaint != self._complaint:
            emit(
                self.logger,
                Event.STATE_UNUSABLE,
                path=path,
                message=complaint,
                hint="see `outcomes` in agent.yaml",
            )
        self._complaint = complaint
