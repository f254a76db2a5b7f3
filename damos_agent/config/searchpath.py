"""Which files make up the configuration: systemd's drop-in rules over four directories.

A file in an earlier root replaces the file of the same name in later ones; a link to /dev/null or
an empty file masks them. Whatever the directory, files take effect in the order of their names.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from damos_agent.config.codes import finding
from damos_agent.config.document import MAX_FILE_BYTES
from damos_agent.config.trust import Trust
from damos_agent.model.finding import Finding

ROOTS: Final = ("etc", "run", "usr/local/lib", "usr/lib")
_SUFFIX: Final = ".yaml"
_NEARLY: Final = (".yml", ".YAML", ".YML", ".json")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that won its name: its bytes, or the finding that says why there are none."""

    path: str
    data: bytes | None
    finding: Finding | None = None
    masked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchPath:
    """All files that count, in order, and findings about directories and names."""

    policies: tuple[Candidate, ...]
    agent: Candidate | None
    findings: tuple[Finding, ...] = ()


def policy_directories(config_root: str) -> tuple[str, ...]:
    """The directories that are searched, strongest first; they need not exist."""
    return tuple(os.path.join(config_root, root, "damos-agent/policies.d") for root in ROOTS)


def agent_files(config_root: str) -> tuple[str, ...]:
    """Where agent.yaml may be, strongest first."""
    return tuple(os.path.join(config_root, root, "damos-agent/agent.yaml") for root in ROOTS)


def search(config_root: str, trust: Trust) -> SearchPath:
    """Read the whole configuration once."""
    findings: list[Finding] = []
    winners: dict[str, list[str]] = {}
    for directory in policy_directories(config_root):
        names, found = _list(directory, trust)
        findings += found
        for name in names:
            winners.setdefault(name, []).append(os.path.join(directory, name))
    policies = []
    for name in sorted(winners):
        candidate = _first(winners[name], trust)
        if is_mask(candidate):
            findings.append(_masked_note(candidate))
        else:
            policies.append(candidate)
    present = [path for path in agent_files(config_root) if os.path.lexists(path)]
    agent = _first(present, trust) if present else None
    if agent is not None and is_mask(agent):
        agent = None
    return SearchPath(tuple(policies), agent, tuple(findings))


def is_mask(candidate: Candidate) -> bool:
    """Whether the file is there only to switch weaker ones off."""
    return candidate.data == b""


def _masked_note(candidate: Candidate) -> Finding:
    if candidate.masked:
        message = "masks " + ", ".join(candidate.masked)
    else:
        message = "an empty policy file: it masks nothing"
    return finding("DA114", message, candidate.path)


def _first(paths: Sequence[str], trust: Trust) -> Candidate:
    data, found = read_file(paths[0], trust)
    return Candidate(paths[0], data, found, tuple(paths[1:]))


def _list(directory: str, trust: Trust) -> tuple[list[str], list[Finding]]:
    try:
        entries = os.listdir(directory)
        refused = trust.check(directory)
    except FileNotFoundError:
        return [], []
    except OSError as error:
        message = f"cannot list the directory: {error.strerror}"
        return [], [finding("DA112", message, directory)]
    if refused is not None:
        return [], [refused]
    nearly = [name for name in entries if name.endswith(_NEARLY) and not _is_hidden(name)]
    findings = [
        finding("DA113", "ignored: the name does not end in .yaml", os.path.join(directory, name))
        for name in sorted(nearly)
    ]
    return [name for name in entries if name.endswith(_SUFFIX) and not _is_hidden(name)], findings


def _is_hidden(name: str) -> bool:
    # Dot files: editors' swap files and a ConfigMap's `..data`; `#` and `~`: emacs and others.
    return name.startswith((".", "#", "~"))


def read_file(path: str, trust: Trust) -> tuple[bytes | None, Finding | None]:
    """The bytes of a regular file (or of /dev/null: none), at most one more than is accepted."""
    try:
        if (refused := trust.check(path)) is not None:
            return None, refused
        # Not blocking: opening a FIFO must not hang the compiler.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return None, finding("DA001", f"cannot read the file: {error.strerror}", path)
    try:
        return _read_open(descriptor, path)
    except OSError as error:
        return None, finding("DA001", f"cannot read the file: {error.strerror}", path)
    finally:
        os.close(descriptor)


def _read_open(descriptor: int, path: str) -> tuple[bytes | None, Finding | None]:
    status = os.fstat(descriptor)
    regular = stat.S_ISREG(status.st_mode)
    if not regular and os.path.realpath(path) != os.devnull:
        return None, finding("DA001", "not a regular file", path)
    chunks: list[bytes] = []
    left = MAX_FILE_BYTES + 1
    while left > 0 and (chunk := os.read(descriptor, left)):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks), None
