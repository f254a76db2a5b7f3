"""From what the compiler found to what is in force: a bad file keeps its own last good version.

`merge` is pure. The name of a file, without its directory, is what it is known by: a file of the
same name in a higher directory takes over from it, and if that one is bad, the version that was
in force stays so. Removing the file, or masking it, removes the policy.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace

from damos_agent.agent.atomic import write_atomic
from damos_agent.agent.kept import read_kept
from damos_agent.model.codec import Json, encode
from damos_agent.model.compiled import Compiled, CompiledFile
from damos_agent.model.errors import HostError
from damos_agent.model.finding import Finding, Severity
from damos_agent.model.policy import Policy
from damos_agent.model.settings import Settings

DEFAULT_PATH = "/run/damos-agent/loaded.json"


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy in force. `digest` is that of the bytes it was made from.

    When its file is bad now: `stale_since` (seconds since the epoch) tells since when,
    `bad_digest` which bytes, and `findings` why. Else `findings` are its warnings and notes.
    """

    path: str
    digest: str
    policy: Policy
    findings: tuple[Finding, ...] = ()
    masked: tuple[str, ...] = ()
    stale_since: float | None = None
    bad_digest: str = ""

    @property
    def file_digest(self) -> str:
        """Digest of the file as it is now, good or bad."""
        return self.bad_digest or self.digest


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file with errors that has no good version to fall back on."""

    path: str
    digest: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything in force. `findings` belong to agent.yaml and to directories."""

    settings: Settings = field(default_factory=Settings)
    policies: tuple[LoadedPolicy, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def stale(self) -> tuple[LoadedPolicy, ...]:
        """Policies that run an older version than their file holds."""
        return tuple(entry for entry in self.policies if entry.stale_since is not None)

    @property
    def held(self) -> dict[str, str]:
        """By policy name, the file it came from: a newcomer does not take the name away."""
        return {entry.policy.name: entry.path for entry in self.policies}

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those of agent.yaml and of directories."""
        return tuple(found for found in self.findings if found.severity is Severity.ERROR)

    @property
    def refused(self) -> tuple[Finding, ...]:
        """Everything said of what is rejected, but of files whose last good versions go on."""
        of_files = [found for entry in self.rejected for found in entry.findings]
        return (*self.errors, *of_files)

    @property
    def refused_files(self) -> int:
        """How many files and directories `refused` speaks of."""
        return len(self.rejected) + len({found.path for found in self.errors})

    @property
    def ok(self) -> bool:
        """Whether nothing was rejected: no file, no directory, not agent.yaml."""
        return not (self.stale or self.rejected or self.errors)


def merge(previous: Loaded, compiled: Compiled, now: float) -> Loaded:
    """What is in force after `compiled`; `now` in seconds since the epoch dates what turned bad."""
    known = {_name(entry.path): entry for entry in previous.policies}
    present = {_name(file.path) for file in compiled.files}
    absent = [entry for name, entry in known.items() if name not in present]
    hidden = {entry.path: _unreachable(entry, compiled.findings) for entry in absent}
    vanished = [entry for entry in absent if not hidden[entry.path]]
    good = [_fresh(file, file.policy) for file in compiled.files if file.policy is not None]
    taken = {entry.policy.name for entry in good}
    kept: list[LoadedPolicy] = []
    rejected: list[Rejected] = []
    for file in compiled.files:
        if file.policy is not None or not _has_error(file.findings):
            continue
        last = known.get(_name(file.path)) or _moved_here(file, vanished)
        if last is None or last.policy.name in taken:
            rejected.append(Rejected(file.path, file.digest, file.findings))
            continue
        taken.add(last.policy.name)
        kept.append(_stale(last, file, now))
    for entry in absent:
        reasons = hidden[entry.path]
        if reasons and entry.policy.name not in taken:
            taken.add(entry.policy.name)
            kept.append(_stale(entry, CompiledFile(entry.path, "", None, reasons), now))
    return Loaded(
        settings=previous.settings if compiled.settings is None else compiled.settings,
        policies=tuple(sorted([*good, *kept], key=lambda entry: _name(entry.path))),
        rejected=tuple(rejected),
        findings=compiled.findings,
    )


def _name(path: str) -> str:
    return os.path.basename(path)


def _has_error(findings: tuple[Finding, ...]) -> bool:
    return any(finding.severity is Severity.ERROR for finding in findings)


def _fresh(file: CompiledFile, policy: Policy) -> LoadedPolicy:
    return LoadedPolicy(file.path, file.digest, policy, file.findings, file.masked)


def _stale(last: LoadedPolicy, file: CompiledFile, now: float) -> LoadedPolicy:
    return replace(
        last,
        path=file.path,
        findings=file.findings,
        masked=file.masked,
        stale_since=now if last.stale_since is None else last.stale_since,
        bad_digest=file.digest,
    )


def _moved_here(file: CompiledFile, vanished: list[LoadedPolicy]) -> LoadedPolicy | None:
    """The entry whose file was renamed to `file`: same bytes, or the policy it says it is."""
    named = {finding.policy for finding in file.findings if finding.policy}
    for entry in vanished:
        if entry.file_digest == file.digest or entry.policy.name in named:
            return entry
    return None


def _unreachable(entry: LoadedPolicy, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Errors that keep the compiler from the file: it cannot tell that the file is gone."""
    places = {entry.path, os.path.dirname(entry.path)}
    return tuple(
        finding
        for finding in findings
        if finding.severity is Severity.ERROR and finding.path in places
    )


def save_loaded(loaded: Loaded, path: str = DEFAULT_PATH) -> None:
    """Keep `loaded` for the next start; raises `HostError`."""
    try:
        write_atomic(path, _spelled(loaded))
    except OSError as error:
        raise HostError(
            f"cannot keep the last good policies: {error.strerror or error}",
            path=path,
            errno=error.errno,
            hint="a restart while a file is bad would lose its last good version",
        ) from error


def _spelled(loaded: Loaded) -> bytes:
    """`encode(loaded)` as JSON, policy by policy: all of it at once would stay in the heap."""
    rest = encode(replace(loaded, policies=()))
    del rest["policies"]
    policies = ",".join(_json(encode(entry)) for entry in loaded.policies)
    return f'{_json(rest)[:-1]},"policies":[{policies}]}}'.encode()


def _json(data: Json) -> str:
    return json.dumps(data, separators=(",", ":"))


def read_loaded(path: str = DEFAULT_PATH) -> Loaded:
    """What the last run kept; nothing if there was none on this boot. Raises `HostError`."""
    hint = "policies are read from their files instead; it is replaced at once"
    return read_kept(Loaded, path, hint) or Loaded()
