"""What the compiler child hands to the daemon, as JSON: settings, policies, findings."""

from __future__ import annotations

from dataclasses import dataclass

from damos_agent.model.finding import Finding
from damos_agent.model.policy import Policy
from damos_agent.model.settings import Settings


@dataclass(frozen=True, slots=True)
class CompiledFile:
    """One policy file of the search path that won its name.

    `digest` is the sha256 of its bytes; `policy` is None when an error rejected it.
    `masked` lists lower files of the same name.
    """

    path: str
    digest: str
    policy: Policy | None
    findings: tuple[Finding, ...] = ()
    masked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Compiled:
    """The whole search path. `settings` is None when agent.yaml is unusable (keep the old ones).

    `findings` are those that belong to no policy file: agent.yaml, directories, permissions.
    """

    settings: Settings | None
    files: tuple[CompiledFile, ...]
    findings: tuple[Finding, ...] = ()
