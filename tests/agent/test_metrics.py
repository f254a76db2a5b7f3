"""Metrics as a scraper and node_exporter's textfile collector read them."""

import socket
import stat
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from damos_agent.agent.listeners import listen_loopback, listen_unix
from damos_agent.agent.meters import Meters
from damos_agent.agent.metric_table import METRICS
from damos_agent.agent.metrics import HttpAnswer, make_registry, write_textfile
from damos_agent.agent.sockets import Peer
from damos_agent.model.errors import BusyError, HostError
from damos_agent.model.status import Fallback, GoalStatus
from tests.agent.serving import read_all, serving
from tests.agent.test_status import OUTCOME, STATUS

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def meters() -> Meters:
    made = Meters()
    for seconds in (0.0005, 0.02, 0.02, 99.0):
        made.reconciled(seconds)
    made.failed(BusyError("busy"))
    return made


def answer() -> HttpAnswer:
    return HttpAnswer(make_registry(lambda: STATUS, meters()))


def http(request: str) -> tuple[str, dict[str, str], str]:
    reply = answer()(request.encode(), Peer(), complete=False)
    assert reply is not None
    head, _, body = reply.decode().partition("\r\n\r\n")
    status, *headers = head.split("\r\n")
    return status, dict(line.split(": ", 1) for line in headers), body


def parse(text: str) -> Samples:
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in samples, f"{key} twice"
            samples[key] = sample.value
    return samples


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_a_scrape_over_tcp() -> None:
    listener = listen_loopback("127.0.0.1:0")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with serving(listener, answer()):
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            samples = parse(response.read().decode())
        with urllib.request.urlopen(f"{url}/healthz", timeout=5) as response:
            assert response.read() == b"ok\n"
    scheme = {"policy": "web", "scheme": "0", "action": "pageout"}
    assert value(samples, "damos_scheme_applied_bytes_total", **scheme) == OUTCOME.sz_applied
    assert value(samples, "damos_agent_policies", state="active") == 1
    assert value(samples, "damos_agent_policies", state="rejected") == 1
    assert value(samples, "damos_agent_policy_state", policy="db", state="waiting") == 1
    assert value(samples, "damos_agent_policy_stale", policy="db") == 1
    assert value(samples, "damos_agent_config_reloads_total", result="success") == 3
    assert value(samples, "damos_agent_config_reloads_total", result="failure") == 1
    assert value(samples, "damos_agent_drift_total", policy="web") == 2
    assert value(samples, "damos_agent_drift_total", policy="db") == 0
    assert value(samples, "damos_agent_reconcile_duration_seconds_count") == 4
    assert value(samples, "damos_agent_reconcile_duration_seconds_bucket", le="0.001") == 1
    assert value(samples, "damos_agent_reconcile_duration_seconds_bucket", le="0.03") == 3
    assert value(samples, "damos_agent_reconcile_failures_total", reason="BusyError") == 1
    assert value(samples, "process_resident_memory_bytes") > 1 << 20


def test_a_scrape_over_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "metrics.sock")
    with serving(listen_unix(path), answer()), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"damos_agent_build_info" in read_all(client)


def test_what_the_kernel_does_not_tell_is_absent() -> None:
    samples = parse(http("GET /metrics HTTP/1.0\n\n")[2])
    names = {name for name, _ in samples}
    assert "damos_scheme_quota_effective_bytes" not in names
    currents = [labels for name, labels in samples if name == "damos_goal_current"]
    assert len(currents) == 1


def test_why_a_policy_fell_back_is_one_of_few_words() -> None:
    policy = replace(STATUS.policies[0], backend="userspace", fallback=Fallback.FOREIGN)
    registry = make_registry(lambda: replace(STATUS, policies=(policy,)), Meters())
    reply = HttpAnswer(registry)(b"GET /metrics HTTP/1.0\n\n", Peer(), complete=False)
    assert reply is not None
    samples = parse(reply.decode().partition("\r\n\r\n")[2])
    name = "damos_agent_policy_fallback"
    assert value(samples, name, policy="web", reason="foreign_kdamonds") == 1
    assert value(samples, name, policy="web", reason="no_damon") == 0
    assert len([found for found, _ in samples if found == name]) == len(Fallback)
    assert name not in {found for found, _ in parse(http("GET /metrics HTTP/1.0\n\n")[2])}


def test_two_goals_of_one_metric_stay_apart() -> None:
    goals = tuple(GoalStatus("node_mem_used", "share", target, 1) for target in (1, 2))
    scheme = replace(OUTCOME, goals=goals)
    policy = replace(STATUS.policies[0], schemes=(scheme, replace(scheme, index=1)))
    registry = make_registry(lambda: replace(STATUS, policies=(policy,)), Meters())
    reply = HttpAnswer(registry)(b"GET /metrics HTTP/1.0\n\n", Peer(), complete=False)
    assert reply is not None
    samples = parse(reply.decode().partition("\r\n\r\n")[2])
    assert len([name for name, _ in samples if name == "damos_goal_target"]) == 4


def test_openmetrics_when_asked_for() -> None:
    status, headers, body = http(
        "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n"
    )
    assert status == "HTTP/1.0 200 OK"
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    parsed = openmetrics.text_string_to_metric_families(body)  # type: ignore[no-untyped-call]
    families = {family.name for family in parsed}
    assert "damos_scheme_applied_bytes" in families


def test_every_row_of_the_table_is_exported_and_well_named() -> None:
    text = http("GET /metrics HTTP/1.0\n\n")[2]
    for metric in METRICS:
        assert f"# HELP {metric.name} " in text
        assert metric.name.endswith("_total") == (metric.type.value == "counter")
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ("GET /metrics HTTP/2.0\r\n\r\n", "400"),
        ("nonsense\n\n", "400"),
        ("\r\n\r\n", "400"),
        ("GET /metrics?a=b HTTP/1.1\r\n\r\n", "200"),
    ],
)
def test_other_requests(request_text: str, status: str) -> None:
    assert http(request_text)[0].split()[1] == status


def test_head_has_no_body() -> None:
    status, headers, body = http("HEAD /metrics HTTP/1.1\r\n\r\n")
    assert status.endswith("200 OK")
    assert int(headers["Content-Length"]) > 1000
    assert body == ""


def test_an_unfinished_request_waits_then_times_out() -> None:
    assert answer()(b"GET /metrics HTTP/1.1\r\n", Peer(), complete=False) is None
    late = answer()(b"GET /metrics HTTP/1.1\r\n", Peer(), complete=True)
    assert late is not None
    assert late.startswith(b"HTTP/1.0 408")


def test_the_textfile_is_readable_whole_and_without_process_metrics(tmp_path: Path) -> None:
    path = tmp_path / "damos.prom"
    path.write_text("old")
    write_textfile(str(path), make_registry(lambda: STATUS, meters(), process=False))
    text = path.read_text()
    assert "damos_agent_build_info" in text
    assert "process_" not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_textfile_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    registry = make_registry(lambda: STATUS, Meters(), process=False)
    with pytest.raises(HostError, match="ReadWritePaths"):
        write_textfile(str(tmp_path / "none/damos.prom"), registry)
    (tmp_path / "directory").mkdir()
    with pytest.raises(HostError, match="cannot write metrics"):
        write_textfile(str(tmp_path / "directory"), registry)
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]
