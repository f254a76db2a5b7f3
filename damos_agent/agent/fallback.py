"""Why the kernel does not serve a policy, in one word: metrics bear no sentences."""

from __future__ import annotations

from collections.abc import Mapping

from damos_agent.agent.survey import Survey
from damos_agent.algo.lower import check_ops
from damos_agent.kernel.ownership import judge
from damos_agent.kernel.planner import blocking_modules, left_out
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.feature import Features
from damos_agent.model.policy import BackendChoice, Policy
from damos_agent.model.status import Fallback


def fallbacks(
    policies: Mapping[str, Policy], why_not: Mapping[str, str], view: Survey, features: Features
) -> dict[str, Fallback]:
    """Of those policies that the kernel cannot serve by `why_not`, the reason's kind."""
    lacking = [name for name in policies if why_not.get(name)]
    if not lacking:
        return {}
    no_place = left_out(view.desired, view.situation)
    return {
        name: _of_policy(policies[name], features)
        if name in view.unsupported
        else _of_machine(view)
        if name in no_place
        else Fallback.REFUSED
        for name in lacking
    }


def _of_policy(policy: Policy, features: Features) -> Fallback:
    if policy.backend is BackendChoice.USERSPACE:
        return Fallback.ASKED
    try:
        check_ops(policy, features)
    except UnsupportedError:
        return Fallback.NO_DAMON
    return Fallback.UNSUPPORTED


def _of_machine(view: Survey) -> Fallback:
    """In the planner's order."""
    situation = view.situation
    if not judge(situation.observed, situation.ledger, situation.boot_id).pool:
        return Fallback.FOREIGN
    return Fallback.EXCLUSIVE if blocking_modules(situation) else Fallback.NO_SLOT
