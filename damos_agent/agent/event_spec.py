"""The names of the events the agent logs, and what there is to say about each.

An event is one JSON line. Adding a field to an event is compatible, renaming or removing one is
not: readers of `schemas/event-v1.schema.json` rely on the names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Event(StrEnum):
    """Every `event` value there is; meanings and fields stand in `event_table.EVENTS`."""

    AGENT_STARTED = "agent_started"
    AGENT_STOPPED = "agent_stopped"
    AGENT_FAILED = "agent_failed"
    SIGNAL_RECEIVED = "signal_received"
    BACKEND_SELECTED = "backend_selected"
    FEATURES_DETECTED = "features_detected"
    LISTENING = "listening"
    LISTENING_ENDED = "listening_ended"
    LISTEN_FAILED = "listen_failed"
    SETTINGS_CHANGED = "settings_changed"
    POLICY_LOADED = "policy_loaded"
    POLICY_REJECTED = "policy_rejected"
    POLICY_MASKED = "policy_masked"
    POLICY_MOVED = "policy_moved"
    POLICY_REMOVED = "policy_removed"
    CONFIG_FINDING = "config_finding"
    RELOAD_STARTED = "reload_started"
    RELOAD_FINISHED = "reload_finished"
    COMPILE_FAILED = "compile_failed"
    WATCH_FAILED = "watch_failed"
    PLAN_COMPUTED = "plan_computed"
    WRITE_APPLIED = "write_applied"
    WRITE_FAILED = "write_failed"
    SLOT_STARTED = "slot_started"
    SLOT_RESTARTED = "slot_restarted"
    SLOT_COMMITTED = "slot_committed"
    SLOT_STOPPED = "slot_stopped"
    SLOT_FAILED = "slot_failed"
    POOL_CREATED = "pool_created"
    KDAMOND_ADOPTED = "kdamond_adopted"
    FOREIGN_KDAMOND_FOUND = "foreign_kdamond_found"
    MODULE_SUSPENDED = "module_suspended"
    MODULE_RESTORED = "module_restored"
    PRIMING_AWAITED = "priming_awaited"
    PRIMING_LEFT = "priming_left"
    DRIFT_DETECTED = "drift_detected"
    MONITOR_STARTED = "monitor_started"
    MONITOR_ENDED = "monitor_ended"
    PROBE_SELECTED = "probe_selected"
    BACKEND_CHANGED = "backend_changed"
    TARGETS_CHANGED = "targets_changed"
    POLICY_STATE_CHANGED = "policy_state_changed"
    POLICY_UNSUPPORTED = "policy_unsupported"
    POLICIES_OVERLAP = "policies_overlap"
    GUARD_CHANGED = "guard_changed"
    SCHEME_OUTCOME = "scheme_outcome"
    POLICY_OUTCOME = "policy_outcome"
    RECONCILE_FAILED = "reconcile_failed"
    STATE_UNUSABLE = "state_unusable"


class Level(StrEnum):
    """How severe an event is; the values are the logger's method names."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Kind(StrEnum):
    """The JSON type of a field."""

    TEXT = "string"
    INTEGER = "integer"
    FLAG = "boolean"
    TEXTS = "strings"
    INTEGERS = "integers"
    GOALS = "goals"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event. `optional`: may be null or left out."""

    kind: Kind
    meaning: str
    unit: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class EventSpec:
    """What one event means, how severe it is and which fields it carries."""

    level: Level
    meaning: str
    fields: dict[str, Field]
