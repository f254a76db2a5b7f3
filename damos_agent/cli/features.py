"""`damosctl features`: what a kernel's DAMON offers, and which policies could use it."""

from __future__ import annotations

import json
from typing import Any

import click

from damos_agent.cli import exits
from damos_agent.cli.features_text import render
from damos_agent.cli.kernel_option import check_release
from damos_agent.cli.machine import is_copy
from damos_agent.cli.session import Session
from damos_agent.cli.sources import compile_from, effective, report_errors
from damos_agent.cli.survey_features import Offer, offer_of_kernel, offer_of_machine
from damos_agent.kernel.fields import paths_by_feature
from damos_agent.model.codec import encode
from damos_agent.model.feature import SINCE, Feature


@click.command("features", epilog="Exit code: 0, or 69 where the kernel has no DAMON.")
@click.option(
    "--kernel",
    callback=check_release,
    metavar="RELEASE",
    help="Of this mainline kernel, such as 6.12, instead; with --sysfs-root, of that copy of a "
    "machine with this kernel.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs; also names sysfs files.")
@click.pass_obj
def command(session: Session, kernel: str | None, as_json: bool) -> int:
    """Show features, operation sets, the machine around them, and what policies can run.

    The policies are those on the search path. Nothing is switched on to find out, and only the
    state of kdamonds needs root.
    """
    compiled = compile_from(session, ())
    report_errors(compiled)
    policies, _ = effective(compiled)
    if kernel is None or is_copy(session):
        offer = offer_of_machine(session, policies, kernel)
    else:
        offer = offer_of_kernel(kernel, policies)
    click.echo(
        json.dumps(_document(offer), indent=2) + "\n" if as_json else render(offer), nl=False
    )
    return exits.OK if offer.features.present else exits.UNAVAILABLE


def _document(offer: Offer) -> dict[str, Any]:
    features, files = offer.features, paths_by_feature()
    document: dict[str, Any] = {
        "kernel": features.release,
        "source": features.source,
        "detail": features.detail,
        "operations": sorted(features.ops),
        "features": {
            feature.value: {
                "present": feature in features,
                "since": ".".join(map(str, SINCE[feature])),
                "files": list(files.get(feature, ())),
            }
            for feature in Feature
        },
        "policies": {
            name: {
                "can_run": not answer.why_not,
                "reason": answer.why_not,
                "can_enforce": not answer.why_not_enforced,
                "enforce_reason": answer.why_not_enforced,
                "userspace": not answer.why_not_here,
                "userspace_reason": answer.why_not_here,
            }
            for name, answer in offer.policies.items()
        },
        "host": None,
        "probes": [
            {key: value for key, value in encode(rung).items() if key != "kind"}
            for rung in offer.rungs
        ],
    }
    if host := offer.host:
        total, running, foreign = host.kdamonds or (None, None, None)
        document["host"] = {
            "kdamonds": {"slots": total, "running": running, "foreign": foreign},
            "exclusive_modules": list(host.exclusive),
            "psi": host.psi,
            "numa_nodes": list(host.nodes),
            "swap": host.swap,
        }
    return document
