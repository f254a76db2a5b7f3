"""Sense of the agent's settings. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from damos_agent.config.issue import Issue
from damos_agent.model.settings import Settings


def check_settings(settings: Settings) -> Iterator[Issue]:
    """Intervals that would make the agent spin."""
    named = {
        "resync_interval": settings.resync_us,
        "follow_interval": settings.follow_us,
        "outcome_interval": settings.outcome_us,
    }
    for name, value in named.items():
        if value == 0:
            yield Issue("DA044", ("spec", name), f"{name} is zero", "1s or longer")
