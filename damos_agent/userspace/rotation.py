"""Going on where the last round had to stop, so that everything has its turn. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from damos_agent.model.damon import Placement


@dataclass(slots=True)
class Rotation:
    """Of one scheme over the memory of processes, in whatever order they come.

    A round after one that stopped skips what comes before that place. If the place has gone, the
    round ends without any turn, and the next one begins at the front.
    """

    _place: tuple[Placement, int] | None = None
    _stopped: tuple[Placement, int] | None = None
    _passed: bool = False

    def begin_round(self) -> None:
        """Another round begins."""
        self._place, self._stopped, self._passed = self._stopped, None, False

    def is_skipped(self, process: Placement, end: int) -> bool:
        """Whether memory up to `end` lies before the place to go on at."""
        if self._place is None:
            return False
        at_process, address = self._place
        here = process == at_process
        # Behind it without having met it: that memory has gone.
        if (here and end > address) or (self._passed and not here):
            self._place = None
            return False
        self._passed |= here
        return True

    def stop(self, process: Placement, start: int) -> None:
        """There is no time for this, nor for what follows in this round."""
        if self._stopped is None:
            self._stopped = (process, start)
