"""What a kernel offers, for people."""

from __future__ import annotations

from collections.abc import Iterator

import click

from damos_agent.cli.survey_features import Answer, Host, Offer
from damos_agent.cli.table import Column, Row, lay_out
from damos_agent.model.feature import SINCE, Feature, Features, Ops, Source
from damos_agent.model.units import human_size, plural
from damos_agent.model.userspace import Rung

_SOURCES = {
    Source.TREE: "by its files",
    Source.BTF: "by its type information (BTF)",
    Source.VERSION: "assumed from the release number",
    Source.PROFILE: "as released, every operation set built in",
    Source.ABSENT: "absent",
}
_FEATURES = (Column("FEATURE"), Column("SINCE"), Column("HERE"))
_POLICIES = (Column("POLICY"), Column("CAN RUN"))
_PROBES = (Column("USER-SPACE PROBE"), Column("TELLS BY"), Column("HERE"))
_YES = click.style("yes", fg="green")
_NO = click.style("no", fg="red")


def render(offer: Offer) -> str:
    """Machine, features, policies."""
    return "".join(f"{line}\n" for line in _render(offer))


def _render(offer: Offer) -> Iterator[str]:
    features = offer.features
    known = f"DAMON {_SOURCES[features.source]}" if features.present else "no DAMON"
    yield click.style(f"Linux {features.release}: {known}", bold=True)
    if features.detail:
        yield features.detail
    yield from _facts("operations", [ops for ops in Ops if ops in features.ops] or ["none"])
    if offer.host is not None:
        yield from _host(offer.host)
    yield ""
    yield from lay_out(_FEATURES, [_feature(feature, features) for feature in Feature], None)
    if offer.rungs:
        yield ""
        yield from lay_out(_PROBES, [_probe(rung) for rung in offer.rungs], None)
    if offer.policies:
        yield ""
        rows = [_policy(name, answer) for name, answer in offer.policies.items()]
        yield from lay_out(_POLICIES, rows, None)


def _facts(name: str, words: list[str] | tuple[str, ...]) -> Iterator[str]:
    yield f"{name:<18} {', '.join(words)}"


def _host(host: Host) -> Iterator[str]:
    yield from _facts("kdamonds", [_kdamonds(host)])
    yield from _facts("exclusive modules", host.exclusive or ["none running"])
    yield from _facts("memory pressure", ["measured (PSI)" if host.psi else "PSI is off"])
    yield from _facts("NUMA nodes", [str(node) for node in host.nodes])
    devices = [f"{name} {human_size(size)}" for name, size in host.swap.items()]
    yield from _facts("swap", devices or ["none: anonymous memory cannot be paged out"])


def _kdamonds(host: Host) -> str:
    if host.kdamonds is None:
        return f"not known: {host.kdamonds_trouble}"
    slots, running, foreign = host.kdamonds
    if not slots:
        return "none"
    others = f", {foreign} of them somebody else's" if foreign else ""
    return f"{plural(slots, 'slot')}, {running} running{others}"


def _feature(feature: Feature, features: Features) -> Row:
    since = ".".join(map(str, SINCE[feature]))
    return Row((feature.value, since, _YES if feature in features else _NO))


def _probe(rung: Rung) -> Row:
    here = f"{_NO}: {rung.reason}" if rung.reason else _YES
    if rung.used_by:
        here += f", in use by {', '.join(rung.used_by)}"
    notes = () if rung.reason else (f"  {rung.limits}",)
    return Row((rung.name, rung.granularity, here), notes)


def _policy(name: str, answer: Answer) -> Row:
    if answer.why_not and not answer.why_not_here:
        where = click.style("in user space", fg="yellow")
        return Row((name, f"{where}: {answer.why_not}"))
    if answer.why_not:
        here = f"; user space: {answer.why_not_here}" if answer.why_not_here else ""
        return Row((name, f"{_NO}: {answer.why_not}{here}"))
    if answer.why_not_enforced:
        return Row((name, f"{click.style('observe only', fg='yellow')}: {answer.why_not_enforced}"))
    return Row((name, _YES))
