"""A document of kind Agent: the daemon's own settings."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, StrictBool, StrictInt, StrictStr, WithJsonSchema

from damos_agent.config.quantities import Duration, FilePath, Size, fail
from damos_agent.config.shape import Metadata, Shape, described
from damos_agent.model.settings import (
    DamonStat,
    DriftAction,
    LogFormat,
    LogLevel,
    OnExit,
    WatchMethod,
)


def _listen(value: Any) -> Any:
    if not isinstance(value, str) or value == "":
        return value
    _check_listen(value)
    return value


def _check_listen(value: str) -> None:
    loopback = re.fullmatch(r"(127\.0\.0\.1|localhost|\[::1\]):([0-9]{1,5})", value)
    if loopback and 0 < int(loopback[2]) < 65536:
        return
    if value.startswith("unix:/") and len(value) < 100:
        return
    fail(
        "DA120",
        f"{value[:70]!r} is neither a Unix socket nor a loopback port",
        "write unix:/run/damos-agent/metrics.sock or 127.0.0.1:9945",
    )


Listen = Annotated[StrictStr, BeforeValidator(_listen), WithJsonSchema({"type": "string"})]


class MetricsShape(Shape):
    """Where Prometheus metrics go."""

    listen: Listen = described("`unix:/path` or `127.0.0.1:PORT`; empty for none.", "")
    textfile: FilePath | None = described(
        "File for node_exporter's textfile collector, which reads names in .prom only. Replaced "
        "atomically, and removed when the agent stops.",
        None,
    )
    textfile_interval: Duration = described(
        "Time between two writings of the file, 1s at least; written even if nothing changed, so "
        "that its age tells whether the agent lives.",
        60_000_000,
        shown="1m",
    )


class OutcomesShape(Shape):
    """Where outcome records are kept, for `damosctl outcomes` and for whoever collects them."""

    file: FilePath | None = described(
        "One JSON object per line; outcomes.jsonl in the run directory if not given.", None
    )
    enabled: StrictBool = described("Whether records are kept in a file.", True)
    keep: StrictInt = described("How many older files stay, as .1, .2 …", 1, ge=0, le=1000)
    max_size: Size = described("A file is turned over at that size.", 1 << 20, shown="1MiB")


class LogShape(Shape):
    """What is logged, and how."""

    format: LogFormat = described("auto: text on a terminal, JSON lines elsewhere.", LogFormat.AUTO)
    level: LogLevel = described("Least severe level that is written.", LogLevel.INFO)


class AgentSpec(Shape):
    """Everything has a default: an absent agent.yaml is fine."""

    resync_interval: Duration = described(
        "Full comparison of files and kernel with what should be.", 60_000_000, shown="1m"
    )
    follow_interval: Duration = described(
        "Time between two looks for processes that came or went.", 10_000_000, shown="10s"
    )
    outcome_interval: Duration = described(
        "Time between two outcome records of a policy.", 60_000_000, shown="1m"
    )
    settle_time: Duration = described(
        "How long files must be quiet before a reload: one reload per burst of edits.",
        200_000,
        shown="200ms",
    )
    boot_grace: Duration = described(
        "So long after boot policies only observe: what starts up is not cold. 0s: none.",
        60_000_000,
        shown="1m",
    )
    watch: WatchMethod = described(
        "How changes of files are noticed. Events are only a hint; digests decide.",
        WatchMethod.INOTIFY,
    )
    drift: DriftAction = described(
        "When somebody else changed our part of the kernel: put it back (reassert), leave it "
        "(yield), or only say so (alert).",
        DriftAction.REASSERT,
    )
    on_exit: OnExit = described(
        "stop: switch our kdamonds off and release them. keep: leave them running.", OnExit.STOP
    )
    slots: StrictInt = described(
        "kdamond slots to create: the most policies the kernel runs at once.", 16, ge=1, le=1024
    )
    damon_stat: DamonStat = described(
        "suspend: switch the exclusive DAMON_STAT module off while the agent runs, and on "
        "again afterwards. leave: do not touch it.",
        DamonStat.LEAVE,
    )
    metrics: MetricsShape = described("Where metrics go.", default_factory=MetricsShape, shown={})
    outcomes: OutcomesShape = described(
        "Where outcome records go.", default_factory=OutcomesShape, shown={}
    )
    log: LogShape = described("Logging.", default_factory=LogShape, shown={})


class AgentDocument(Shape):
    """The settings of damos-agent."""

    api_version: Literal["damos-agent/v1"] = described(
        "Version of the language.", alias="apiVersion"
    )
    kind: Literal["Agent"] = described("Kind of the document.")
    metadata: Metadata | None = described("Optional; for tools that demand it.", None)
    spec: AgentSpec = described("The settings.", default_factory=AgentSpec, shown={})
