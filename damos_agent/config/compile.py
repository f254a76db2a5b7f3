"""The compiler: a search path, or files named by hand, into one `Compiled`.

`python -m damos_agent.config.compile --config-root /` prints it as JSON. Findings are data: the
exit status is 0 however bad the policies are.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from damos_agent.config.check_across import fights, same_names
from damos_agent.config.codes import finding
from damos_agent.config.document import find, locate
from damos_agent.config.load import Loaded, load_bytes
from damos_agent.config.searchpath import Candidate, read_file, search
from damos_agent.config.trust import Trust, current_trust
from damos_agent.model.codec import encode
from damos_agent.model.compiled import Compiled, CompiledFile
from damos_agent.model.finding import STDIN, Finding, Severity
from damos_agent.model.policy import Policy
from damos_agent.model.settings import Settings

_NAMED = 3
"""So many policies are named in one message."""


def compile_tree(
    config_root: str = "/", *, trust: Trust | None = None, held: Mapping[str, str] | None = None
) -> Compiled:
    """Everything below `config_root`, by systemd's rules.

    `held`: names of policies in force and the files they came from, which keep them.
    """
    trust = trust or current_trust()
    found = search(config_root, trust)
    loaded = [_load(candidate, "Policy") for candidate in found.policies]
    settings, findings = _agent(found.agent)
    masked = {candidate.path: candidate.masked for candidate in found.policies}
    holders = _holders(loaded, held or {}, found.findings)
    return Compiled(settings, _together(loaded, masked, holders), (*found.findings, *findings))


def compile_files(paths: Iterable[str], stdin: bytes = b"") -> Compiled:
    """Files named by hand, policies and agent settings alike; of a directory, its *.yaml.

    The path `-` stands for the bytes `stdin`.

    Nobody's permissions are checked: this is for `damosctl validate`, also without root.
    """
    trust = Trust(enforced=False)
    policies: list[Loaded] = []
    settings: Settings | None = Settings()
    findings: list[Finding] = []
    for path in _expand(paths):
        data, refused = (stdin, None) if path == "-" else read_file(path, trust)
        loaded = _load(Candidate(STDIN if path == "-" else path, data, refused), None)
        if loaded.kind == "Agent":
            settings = loaded.settings
            findings += loaded.findings
        else:
            policies.append(loaded)
    return Compiled(settings, _together(policies, {}), tuple(findings))


def compile_text(text: str, path: str = "<text>") -> Compiled:
    """One document given as text."""
    loaded = load_bytes(text.encode("utf-8", "surrogatepass"), path)
    if loaded.kind == "Agent":
        return Compiled(loaded.settings, (), loaded.findings)
    return Compiled(Settings(), _together([loaded], {}))


def _expand(paths: Iterable[str]) -> Iterable[str]:
    for path in paths:
        if os.path.isdir(path):
            names = sorted(os.listdir(path))
            yield from (
                os.path.join(path, name)
                for name in names
                if name.endswith(".yaml") and not name.startswith(".")
            )
        else:
            yield path


def _load(candidate: Candidate, want: str | None) -> Loaded:
    if candidate.data is None:
        refused = () if candidate.finding is None else (candidate.finding,)
        return Loaded(candidate.path, "", findings=refused)
    return load_bytes(candidate.data, candidate.path, masked=candidate.masked, want=want)


def _agent(candidate: Candidate | None) -> tuple[Settings | None, tuple[Finding, ...]]:
    if candidate is None:
        return Settings(), ()
    loaded = _load(candidate, "Agent")
    return loaded.settings, loaded.findings


def _together(
    loaded: Sequence[Loaded],
    masked: dict[str, tuple[str, ...]],
    holders: Mapping[str, str] | None = None,
) -> tuple[CompiledFile, ...]:
    by_path = {item.path: item for item in loaded}
    files = {
        item.path: CompiledFile(
            item.path,
            item.digest,
            item.policy,
            tuple(replace(one, policy=_name_of(item)) for one in item.findings),
            masked.get(item.path, ()),
        )
        for item in loaded
    }
    policies = [item.policy for item in loaded if item.policy is not None]
    for later, earlier in same_names(policies, holders or {}):
        path = later.origin.path
        message = f"policy {later.name} is already defined in {earlier}"
        found = _at(by_path[path], ("metadata", "name"), "DA100", message)
        kept = files[path]
        files[path] = replace(kept, policy=None, findings=(*kept.findings, found))
    remaining = [item.policy for item in files.values() if item.policy is not None]
    for later, opponents in fights(remaining):
        path = later.origin.path
        message = f"works on the same memory as {_name_all(opponents)}"
        found = _at(by_path[path], ("spec", "target"), "DA101", message)
        files[path] = replace(files[path], findings=(*files[path].findings, found))
    return tuple(files.values())


def _holders(
    loaded: Iterable[Loaded], held: Mapping[str, str], findings: Iterable[Finding]
) -> dict[str, str]:
    """By name of a policy in force, the file that has it still: its last good version counts even
    while it has errors, or is in a directory that is refused."""
    by_file = {os.path.basename(item.path): item for item in loaded}
    refused = {found.path for found in findings if found.severity is Severity.ERROR}
    found = {}
    for name, path in held.items():
        item = by_file.get(os.path.basename(path))
        if item is None:
            if os.path.dirname(path) in refused:
                found[name] = path
        elif _name_of(item) in ("", name):
            found[name] = item.path
    return found


def _name_all(policies: Sequence[Policy]) -> str:
    named = [f"{policy.name} in {policy.origin.path}" for policy in policies[:_NAMED]]
    more = len(policies) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _name_of(item: Loaded) -> str:
    if item.policy is not None:
        return item.policy.name
    node = find(item.root, ("metadata", "name")) if item.root is not None else None
    return node.value if node is not None and isinstance(node.value, str) else ""


def _at(item: Loaded, loc: tuple[str, ...], code: str, message: str) -> Finding:
    place = locate(item.root, loc) if item.root is not None else (0, 0)
    found = finding(code, message, item.path, place)
    return replace(found, policy=_name_of(item))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the compiled configuration as JSON."""
    parser = argparse.ArgumentParser(prog="damos_agent.config.compile", description=__doc__)
    parser.add_argument("--config-root", default="/", help="where etc, run and usr are (/)")
    parser.add_argument(
        "--held", action="store_true", help="standard input tells which file holds which name"
    )
    options = parser.parse_args(arguments)
    held = json.load(sys.stdin) if options.held else {}
    json.dump(encode(compile_tree(options.config_root, held=held)), sys.stdout)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
