"""Sense of the agent's settings. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from damos_agent.config.issue import Issue
from damos_agent.model.settings import MetricsSettings, Settings
from damos_agent.model.units import format_duration

_LEAST_TEXTFILE_US: Final = 1_000_000


def check_settings(settings: Settings) -> Iterator[Issue]:
    """Intervals that would make the agent spin, and a metrics file that nobody would read."""
    named = {
        "resync_interval": settings.resync_us,
        "follow_interval": settings.follow_us,
        "outcome_interval": settings.outcome_us,
    }
    for name, value in named.items():
        if value == 0:
            yield Issue("DA044", ("spec", name), f"{name} is zero", "1s or longer")
    yield from _check_textfile(settings.metrics)


def _check_textfile(metrics: MetricsSettings) -> Iterator[Issue]:
    at = ("spec", "metrics")
    if metrics.textfile_us < _LEAST_TEXTFILE_US:
        message = f"textfile_interval {format_duration(metrics.textfile_us)} is below 1s"
        yield Issue("DA027", (*at, "textfile_interval"), message, "1m suits most")
    if metrics.textfile and not metrics.textfile.endswith(".prom"):
        message = "node_exporter reads names that end in .prom only"
        yield Issue("DA121", (*at, "textfile"), message, "write /…/damos.prom")
