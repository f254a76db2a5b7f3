"""The agent's own settings (`/etc/damos-agent/agent.yaml`), in base units."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DriftAction(StrEnum):
    """What to do when the kernel no longer matches: put it back, let it be, or only say so."""

    REASSERT = "reassert"
    YIELD = "yield"
    ALERT = "alert"


class OnExit(StrEnum):
    """What happens to our kdamonds when the agent stops."""

    STOP = "stop"
    KEEP = "keep"


class DamonStat(StrEnum):
    """Whether the agent may switch the exclusive DAMON_STAT module off while it runs."""

    LEAVE = "leave"
    SUSPEND = "suspend"


class LogFormat(StrEnum):
    """`auto`: readable text on a terminal, JSON lines elsewhere."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """Least severe level written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class WatchMethod(StrEnum):
    """How changes of the policy directories are noticed; events are only ever a hint."""

    INOTIFY = "inotify"
    POLL = "poll"


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Where metrics go: `listen` is `unix:/path`, `host:port` on loopback, or empty.

    `textfile_us`: time between two writings of `textfile`.
    """

    listen: str = ""
    textfile: str = ""
    textfile_us: int = 60_000_000


@dataclass(frozen=True, slots=True)
class OutcomeSettings:
    """Where outcome records are kept: `file` (None: below the run directory; empty: nowhere),
    turned over at `most_bytes`, with `keep` older ones.
    """

    file: str | None = None
    most_bytes: int = 1 << 20
    keep: int = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """Every knob of the daemon; intervals in microseconds.

    `resync_us`: full comparison with the kernel and the files; `follow_us`: looking for new
    processes; `outcome_us`: one outcome record per policy; `slots`: kdamond slots to create;
    `boot_grace_us`: so long after boot nothing acts.
    """

    resync_us: int = 60_000_000
    follow_us: int = 10_000_000
    outcome_us: int = 60_000_000
    settle_us: int = 200_000
    boot_grace_us: int = 60_000_000
    watch: WatchMethod = WatchMethod.INOTIFY
    drift: DriftAction = DriftAction.REASSERT
    on_exit: OnExit = OnExit.STOP
    slots: int = 16
    damon_stat: DamonStat = DamonStat.LEAVE
    metrics: MetricsSettings = MetricsSettings()
    outcomes: OutcomeSettings = OutcomeSettings()
    log_format: LogFormat = LogFormat.AUTO
    log_level: LogLevel = LogLevel.INFO
