"""Prometheus metrics, made from one `AgentStatus` at the moment somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from damos_agent.agent.atomic import write_atomic
from damos_agent.agent.meters import Meters
from damos_agent.agent.metric_table import METRICS, Metric, MetricType
from damos_agent.agent.sockets import Peer
from damos_agent.host.libc import give_back
from damos_agent.model.errors import HostError
from damos_agent.model.status import AgentStatus

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class AgentCollector(Collector):
    """All rows of `METRICS` and the loop's own meters; reads the status once per scrape."""

    def __init__(self, status: Callable[[], AgentStatus], meters: Meters) -> None:
        self._status = status
        self._meters = meters

    def collect(self) -> Iterator[Family]:
        """The families, in the order of the table."""
        status = self._status()
        for metric in METRICS:
            yield _family(metric, status)
        yield HistogramMetricFamily(
            "damos_agent_reconcile_duration_seconds",
            "Time one comparison with the kernel, and the writes it took, lasted",
            buckets=self._meters.cumulative(),
            sum_value=self._meters.total_s,
        )
        failures = CounterMetricFamily(
            "damos_agent_reconcile_failures",
            "Failed rounds, by the class of the error",
            labels=("reason",),
        )
        for reason, count in sorted(self._meters.failures.items()):
            failures.add_metric((reason,), count)
        yield failures


def _family(metric: Metric, status: AgentStatus) -> Family:
    kind = CounterMetricFamily if metric.type is MetricType.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in metric.samples(status):
        family.add_metric(labels, value)
    return family


def make_registry(
    status: Callable[[], AgentStatus], meters: Meters, *, process: bool = True
) -> CollectorRegistry:
    """A registry of its own. `process` adds process_* (RSS, CPU); not for a textfile.

    node_exporter has process_* of its own and refuses a textfile that repeats them.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(AgentCollector(status, meters))
    if process:
        ProcessCollector(registry=registry)
    return registry


class HttpAnswer:
    """GET /metrics in the format the client prefers, GET /healthz; HTTP/1.0, one request each.

    The main loop itself answers, so any answer from /healthz proves that the loop runs.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def __call__(self, request: bytes, _peer: Peer, *, complete: bool) -> bytes | None:
        """The whole response once the header has ended."""
        head, end, _body = request.replace(b"\r\n", b"\n").partition(b"\n\n")
        if not end:
            return (
                _response("408 Request Timeout", "the request did not end\n") if complete else None
            )
        line, *headers = head.decode("latin-1").split("\n")
        match line.split():
            case ["GET" | "HEAD" as method, target, version] if version.startswith("HTTP/1."):
                return self._get(target.partition("?")[0], headers, body=method == "GET")
            case [_, _, version] if version.startswith("HTTP/1."):
                return _response(
                    "405 Method Not Allowed", "only GET\n", extra=("Allow: GET, HEAD",)
                )
        return _response("400 Bad Request", "this is no HTTP/1 request\n")

    def _get(self, path: str, headers: list[str], *, body: bool) -> bytes:
        if path == "/healthz":
            return _response("200 OK", "ok\n", body=body)
        if path != "/metrics":
            return _response("404 Not Found", "there are /metrics and /healthz\n", body=body)
        encoder, content_type = choose_encoder(_header(headers, "accept"))
        made = _response("200 OK", encoder(self._registry), content_type=content_type, body=body)
        give_back()
        return made


def _header(headers: list[str], wanted: str) -> str:
    for line in headers:
        name, _, value = line.partition(":")
        if name.strip().lower() == wanted:
            return value.strip()
    return ""


def _response(
    status: str,
    content: str | bytes,
    *,
    content_type: str = "text/plain; charset=utf-8",
    extra: tuple[str, ...] = (),
    body: bool = True,
) -> bytes:
    payload = content.encode() if isinstance(content, str) else content
    head = (
        f"HTTP/1.0 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(payload)}",
        "Connection: close",
        *extra,
    )
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + (payload if body else b"")


def write_textfile(path: str, registry: CollectorRegistry) -> None:
    """Replace the textfile of node_exporter's collector as a whole; raises `HostError`."""
    try:
        write_atomic(path, generate_latest(registry), mode=0o644)
    except OSError as error:
        raise HostError(
            f"cannot write metrics: {error.strerror or error}",
            path=path,
            errno=error.errno,
            hint="the directory must exist, and the unit needs ReadWritePaths= for it",
        ) from error
