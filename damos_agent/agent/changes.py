"""What one reload changed, as events to log; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from damos_agent.agent.event_spec import Event
from damos_agent.agent.loader import Loaded, LoadedPolicy
from damos_agent.model.codec import Json, encode
from damos_agent.model.finding import Finding
from damos_agent.model.settings import Settings

Entry = tuple[Event, dict[str, object]]
"""An event and its fields, for `emit`."""


def changes(previous: Loaded, loaded: Loaded, *, first: bool = False) -> list[Entry]:
    """Each difference once: bad news first told is not repeated while nothing changes.

    `first`: of this process, whose log has nothing yet of what an earlier one has told.
    """
    told = Loaded() if first else previous
    return [
        *_settings_changes(previous.settings, loaded.settings),
        *_policy_changes(previous, loaded),
        *_rejections(told, loaded),
        *_finding_changes(told, loaded),
    ]


def reload_fields(previous: Loaded, loaded: Loaded) -> dict[str, object]:
    """The counting fields of `reload_finished`."""
    told = [event for event, _ in _policy_changes(previous, loaded)]
    return {
        "ok": loaded.ok,
        "policies": len(loaded.policies),
        "loaded": told.count(Event.POLICY_LOADED),
        "removed": told.count(Event.POLICY_REMOVED),
        "rejected": loaded.refused_files + len(loaded.stale),
    }


def _settings_changes(old: Settings, new: Settings) -> Iterator[Entry]:
    before = dict(_flat(old))
    changed = [f"{name}={value}" for name, value in _flat(new) if before[name] != value]
    if changed:
        yield Event.SETTINGS_CHANGED, {"changed": changed}


def _flat(value: object, name: str = "") -> Iterator[tuple[str, Json]]:
    """Every setting by its dotted name, as plain data."""
    if not is_dataclass(value):
        yield name, encode(value)
        return
    for field in fields(value):
        inner = f"{name}.{field.name}" if name else field.name
        yield from _flat(getattr(value, field.name), inner)


def _policy_changes(previous: Loaded, loaded: Loaded) -> Iterator[Entry]:
    before = {entry.policy.name: entry for entry in previous.policies}
    after = {entry.policy.name: entry for entry in loaded.policies}
    for name, entry in after.items():
        yield from _policy_change(before.get(name), entry)
    for name, entry in before.items():
        if name not in after:
            yield Event.POLICY_REMOVED, {"policy": name, "path": entry.path}


def _policy_change(old: LoadedPolicy | None, new: LoadedPolicy) -> Iterator[Entry]:
    name = new.policy.name
    if old is None or old.digest != new.digest:
        yield Event.POLICY_LOADED, _describe(new, changed=old is not None)
    elif old.path != new.path:
        yield Event.POLICY_MOVED, {"policy": name, "path": new.path, "old_path": old.path}
    if new.masked and (old is None or old.masked != new.masked):
        yield Event.POLICY_MASKED, {"path": new.path, "masked": list(new.masked)}


def _describe(entry: LoadedPolicy, *, changed: bool) -> dict[str, object]:
    return {
        "policy": entry.policy.name,
        "path": entry.path,
        "digest": entry.digest,
        "mode": entry.policy.mode.value,
        "schemes": len(entry.policy.schemes),
        "changed": changed,
    }


def _rejections(previous: Loaded, loaded: Loaded) -> Iterator[Entry]:
    told = _bad_files(previous)
    for (path, digest), (policy, findings) in _bad_files(loaded).items():
        if told.get((path, digest)) != (policy, findings):
            yield (
                Event.POLICY_REJECTED,
                {"path": path, "policy": policy, "findings": [str(item) for item in findings]},
            )


def _bad_files(loaded: Loaded) -> dict[tuple[str, str], tuple[str, tuple[Finding, ...]]]:
    bad = {(item.path, item.digest): ("", item.findings) for item in loaded.rejected}
    for entry in loaded.stale:
        bad[entry.path, entry.bad_digest] = (entry.policy.name, entry.findings)
    return bad


def _finding_changes(previous: Loaded, loaded: Loaded) -> Iterator[Entry]:
    told = set(_other_findings(previous))
    for finding in _other_findings(loaded):
        if finding not in told:
            yield (
                Event.CONFIG_FINDING,
                {field.name: encode(getattr(finding, field.name)) for field in fields(Finding)},
            )


def _other_findings(loaded: Loaded) -> list[Finding]:
    """Findings that reject no policy file: general ones, warnings and notes of good files."""
    of_good = [f for entry in loaded.policies if entry.stale_since is None for f in entry.findings]
    return [*loaded.findings, *of_good]
