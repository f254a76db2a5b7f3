"""What `damosctl features` makes of the probes that were tried."""

from __future__ import annotations

from dataclasses import replace

from damos_agent.cli.features_text import render
from damos_agent.cli.survey_features import Answer, Offer, probe_lacks
from damos_agent.kernel.features import profile_of
from damos_agent.model.policy import (
    Action,
    Filter,
    FilterType,
    Monitoring,
    PidTarget,
    Policy,
    ProbeChoice,
    Scheme,
    Userspace,
)
from damos_agent.model.userspace import Rung

PAGE_IDLE = Rung("page_idle", "page", "rw", "")
PTE = Rung("pte", "page", "rw", "", experimental=True)
VMA = Rung("vma", "mapping", "rw", "")
MISSING = replace(PAGE_IDLE, reason="not built in")
YOUNG = Scheme(Action.STAT, filters=(Filter(FilterType.YOUNG, allow=False),))


def policy_of(scheme: Scheme, probe: ProbeChoice = ProbeChoice.AUTO) -> Policy:
    monitoring = Monitoring(userspace=Userspace(probe=probe))
    return Policy("p", PidTarget((1,)), (scheme,), monitoring=monitoring)


def test_what_auto_chooses_here_decides_whether_pages_can_be_told() -> None:
    """An experimental probe does not, though it works: another policy has named it."""
    assert probe_lacks(policy_of(YOUNG), (PAGE_IDLE, PTE, VMA)) == ""
    assert "probe vma does not tell apart" in probe_lacks(policy_of(YOUNG), (MISSING, PTE, VMA))
    assert probe_lacks(policy_of(YOUNG, ProbeChoice.PTE), (MISSING, PTE, VMA)) == ""
    assert probe_lacks(policy_of(replace(YOUNG, filters=())), (MISSING, PTE, VMA)) == ""
    assert probe_lacks(policy_of(YOUNG), ()) == ""


def test_why_neither_backend_can_is_said() -> None:
    answers = {"p": Answer("the kernel's reason", "", "the monitor's")}
    found = render(Offer(profile_of("7.3"), None, answers))
    assert "the kernel's reason; user space: the monitor's" in found
