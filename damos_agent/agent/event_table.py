"""One row per event: level, meaning, fields with type and unit. Schema and docs derive from it."""

from __future__ import annotations

from damos_agent.agent.event_spec import Event, EventSpec, Field, Kind, Level


def _text(meaning: str, *, optional: bool = False) -> Field:
    return Field(Kind.TEXT, meaning, optional=optional)


def _count(meaning: str, unit: str = "", *, optional: bool = False) -> Field:
    return Field(Kind.INTEGER, meaning, unit, optional)


def _texts(meaning: str, *, optional: bool = False) -> Field:
    return Field(Kind.TEXTS, meaning, optional=optional)


def _flag(meaning: str) -> Field:
    return Field(Kind.FLAG, meaning)


POLICY = _text("metadata.name of the policy")
SLOT = _count("index of the kdamond directory; -1: the pool as a whole")
FILE = _text("the file")
SYSFS = _text("file below admin/kdamonds/")
MESSAGE = _text("what is wrong")
HINT = _text("what to do about it", optional=True)
REASON = _text("why")
KDAMOND = _count("pid of the kdamond thread; -1: not known")
ERRNO = _count("the kernel's answer (errno)", optional=True)
DURATION = _count("how long it took", "us")
MODULE = _text("name of the DAMON module, for example damon_stat")
FINDINGS = _texts("findings as path:line:column: severity code: message (hint)")

_LIFE = {
    Event.AGENT_STARTED: EventSpec(
        Level.INFO,
        "The agent is up; policies are read next.",
        {
            "kernel": _text("kernel release (uname -r)"),
            "config_root": _text("root below which configuration is looked for"),
            "dry_run": _flag("nothing is written to the kernel"),
        },
    ),
    Event.AGENT_STOPPED: EventSpec(
        Level.INFO,
        "The agent ended in good order.",
        {
            "reason": REASON,
            "on_exit": _text("what was done with our kdamonds: stop or keep"),
            "kdamonds": _count("how many were stopped or kept"),
        },
    ),
    Event.AGENT_FAILED: EventSpec(
        Level.ERROR,
        "The agent cannot run; it exits with `exit_code`.",
        {
            "message": MESSAGE,
            "hint": HINT,
            "path": _text("where", optional=True),
            "exit_code": _count("1: failed, 77: no permission, 78: nothing could be compiled"),
        },
    ),
    Event.SIGNAL_RECEIVED: EventSpec(
        Level.INFO, "A signal asks to reload or to stop.", {"signal": _text("its name")}
    ),
    Event.BACKEND_SELECTED: EventSpec(
        Level.INFO,
        "Which backend monitors and acts.",
        {"backend": _text("kernel, userspace or none"), "reason": REASON},
    ),
    Event.FEATURES_DETECTED: EventSpec(
        Level.INFO,
        "What the running kernel offers.",
        {
            "source": _text("where that is known from: btf, files or version"),
            "ops": _texts("operations sets"),
            "features": _texts("capabilities, as `damosctl features` lists them"),
        },
    ),
    Event.LISTENING: EventSpec(
        Level.INFO,
        "A socket answers from now on.",
        {"purpose": _text("status or metrics"), "address": _text("unix:path or host:port")},
    ),
    Event.LISTENING_ENDED: EventSpec(
        Level.INFO,
        "A socket answers no longer, because agent.yaml names another one or none.",
        {"purpose": _text("metrics"), "address": _text("unix:path or host:port")},
    ),
    Event.LISTEN_FAILED: EventSpec(
        Level.WARNING,
        "The address agent.yaml names cannot be listened on; it is tried again at each resync.",
        {
            "purpose": _text("metrics"),
            "address": _text("unix:path or host:port"),
            "message": MESSAGE,
            "hint": HINT,
        },
    ),
}

_CONFIG = {
    Event.SETTINGS_CHANGED: EventSpec(
        Level.INFO,
        "agent.yaml has new values.",
        {"changed": _texts("as name=value, nested names with dots")},
    ),
    Event.POLICY_LOADED: EventSpec(
        Level.INFO,
        "A policy is new or has new content, and is in force from now on.",
        {
            "policy": POLICY,
            "path": FILE,
            "digest": _text("sha256 of the file"),
            "mode": _text("observe or enforce"),
            "schemes": _count("number of schemes"),
            "changed": _flag("false: the policy is new"),
        },
    ),
    Event.POLICY_REJECTED: EventSpec(
        Level.ERROR,
        "A policy file has errors. If it was good before, its last good version goes on.",
        {
            "path": FILE,
            "policy": _text("policy whose last good version goes on; empty: none"),
            "findings": FINDINGS,
        },
    ),
    Event.POLICY_MASKED: EventSpec(
        Level.INFO,
        "Files of the same name in directories of lower rank are not read.",
        {"path": FILE, "masked": _texts("the files not read")},
    ),
    Event.POLICY_MOVED: EventSpec(
        Level.INFO,
        "A policy now comes from another file; nothing else changed.",
        {"policy": POLICY, "path": FILE, "old_path": _text("the file it came from before")},
    ),
    Event.POLICY_REMOVED: EventSpec(
        Level.INFO,
        "A policy's file is gone or masked; what it did is undone.",
        {"policy": POLICY, "path": FILE},
    ),
    Event.CONFIG_FINDING: EventSpec(
        Level.WARNING,
        "Something found in agent.yaml, in a directory, or in a policy that loads all the same.",
        {
            "severity": _text("error, warning or note"),
            "code": _text("stable code, DA and three digits"),
            "message": MESSAGE,
            "hint": HINT,
            "path": FILE,
            "line": _count("from 1; 0: the file as a whole"),
            "column": _count("from 1; 0: the file as a whole"),
            "policy": _text("policy it is about; empty: none"),
        },
    ),
    Event.RELOAD_STARTED: EventSpec(
        Level.DEBUG,
        "Files are compiled again.",
        {"trigger": _text("start, files, signal, request or resync")},
    ),
    Event.RELOAD_FINISHED: EventSpec(
        Level.INFO,
        "The files as they are now are known; `ok` is false when any was rejected.",
        {
            "trigger": _text("start, files, signal, request or resync"),
            "ok": _flag("nothing was rejected"),
            "policies": _count("policies in force, last good versions included"),
            "loaded": _count("new or changed"),
            "removed": _count("gone"),
            "rejected": _count("files with errors"),
            "duration_us": DURATION,
        },
    ),
    Event.COMPILE_FAILED: EventSpec(
        Level.ERROR,
        "The compiler child failed as a whole; every policy goes on as it was.",
        {"message": MESSAGE, "hint": HINT},
    ),
    Event.WATCH_FAILED: EventSpec(
        Level.WARNING,
        "A directory cannot be watched; changes there are seen at the next resync only.",
        {"path": _text("the directory"), "message": MESSAGE},
    ),
    Event.STATE_UNUSABLE: EventSpec(
        Level.WARNING,
        "A file of ours, of state or metrics, could not be read or written; the agent goes on.",
        {"path": FILE, "message": MESSAGE, "hint": HINT},
    ),
}

_KERNEL = {
    Event.PLAN_COMPUTED: EventSpec(
        Level.INFO,
        "The kernel differs from the policies; this is what will be done.",
        {
            "writes": _count("write(2) calls on sysfs"),
            "changes": _texts("one per slot, as slot:change:policy"),
        },
    ),
    Event.WRITE_APPLIED: EventSpec(
        Level.DEBUG,
        "A sysfs file was written.",
        {
            "path": SYSFS,
            "value": _text("what was written"),
            "old": _text("what it held", optional=True),
        },
    ),
    Event.WRITE_FAILED: EventSpec(
        Level.ERROR,
        "The kernel refused a write.",
        {
            "path": SYSFS,
            "value": _text("what was to be written"),
            "errno": ERRNO,
            "message": MESSAGE,
            "hint": HINT,
            "policy": _text("whose work failed", optional=True),
        },
    ),
    Event.SLOT_STARTED: EventSpec(
        Level.INFO,
        "A kdamond runs for a policy.",
        {"policy": POLICY, "slot": SLOT, "kdamond_pid": KDAMOND, "writes": _count("writes taken")},
    ),
    Event.SLOT_RESTARTED: EventSpec(
        Level.INFO,
        "A kdamond was stopped and started again; the regions and ages it had are lost.",
        {
            "policy": POLICY,
            "slot": SLOT,
            "kdamond_pid": KDAMOND,
            "writes": _count("writes taken"),
            "reason": REASON,
        },
    ),
    Event.SLOT_COMMITTED: EventSpec(
        Level.INFO,
        "A running kdamond took over new parameters; regions and ages were kept.",
        {
            "policy": POLICY,
            "slot": SLOT,
            "change": _text("commit, goals or tidy"),
            "writes": _count("writes taken"),
            "reason": _text("what differed"),
        },
    ),
    Event.SLOT_STOPPED: EventSpec(
        Level.INFO,
        "A kdamond of ours was stopped and its slot is free.",
        {"policy": POLICY, "slot": SLOT, "reason": REASON},
    ),
    Event.SLOT_FAILED: EventSpec(
        Level.ERROR,
        "A slot's plan failed half-way.",
        {"policy": POLICY, "slot": SLOT, "message": MESSAGE, "hint": HINT},
    ),
    Event.POOL_CREATED: EventSpec(
        Level.INFO, "Kdamond directories were created.", {"slots": _count("how many")}
    ),
    Event.KDAMOND_ADOPTED: EventSpec(
        Level.INFO,
        "A kdamond that an earlier run left or somebody restarted matches its record and goes on.",
        {"policy": POLICY, "slot": SLOT, "kdamond_pid": KDAMOND},
    ),
    Event.FOREIGN_KDAMOND_FOUND: EventSpec(
        Level.WARNING,
        "Kdamonds of somebody else exist; they are left alone.",
        {
            "slots": Field(Kind.INTEGERS, "indexes of their directories"),
            "running": _count("how many of them run"),
            "message": MESSAGE,
            "hint": HINT,
        },
    ),
    Event.MODULE_SUSPENDED: EventSpec(
        Level.WARNING,
        "An exclusive DAMON module was switched off, as agent.yaml allows.",
        {"module": MODULE},
    ),
    Event.MODULE_RESTORED: EventSpec(
        Level.INFO, "A module that was switched off runs again.", {"module": MODULE}
    ),
    Event.PRIMING_AWAITED: EventSpec(
        Level.INFO,
        "An agent about to leave first waits for the first windows of new quotas, during which "
        "their schemes match nothing (kernels before 6.18).",
        {
            "policies": _texts("those that wait"),
            "wait_us": _count("how long it will take", "us"),
        },
    ),
    Event.PRIMING_LEFT: EventSpec(
        Level.WARNING,
        "The agent leaves schemes behind that match nothing: the first windows of their quotas "
        "are too long to wait for.",
        {
            "policies": _texts("those that do nothing until an agent runs"),
            "wait_us": _count("how long it would have taken", "us"),
            "hint": HINT,
        },
    ),
    Event.DRIFT_DETECTED: EventSpec(
        Level.WARNING,
        "Somebody changed what the agent had set.",
        {
            "policy": POLICY,
            "slot": SLOT,
            "action": _text("reassert, yield or alert"),
            "differences": _texts("as file: found, wanted"),
        },
    ),
    Event.RECONCILE_FAILED: EventSpec(
        Level.ERROR,
        "A round of comparing and writing ended early; it is tried again.",
        {
            "message": MESSAGE,
            "hint": HINT,
            "path": _text("where", optional=True),
            "policy": _text("whose work failed", optional=True),
            "retry_us": _count("when it is tried again", "us", optional=True),
        },
    ),
}

_USERSPACE = {
    Event.MONITOR_STARTED: EventSpec(
        Level.INFO,
        "The process that monitors without DAMON was started, because a policy needs it.",
        {"monitor_pid": _count("its process id")},
    ),
    Event.MONITOR_ENDED: EventSpec(
        Level.INFO,
        "The monitor process ended. If that was not meant to be, it is started again, and the "
        "ages it had learned are lost.",
        {"reason": REASON, "expected": _flag("the agent ended it")},
    ),
    Event.PROBE_SELECTED: EventSpec(
        Level.INFO,
        "How the accesses of a policy's processes are told without DAMON.",
        {
            "policy": POLICY,
            "probe": _text("page_idle, pte, vma, memcg or writes"),
            "granularity": _text("page, mapping or cgroup"),
            "limits": _text("what it cannot see, and what it costs"),
            "notes": _texts("what is left out, and why"),
        },
    ),
    Event.BACKEND_CHANGED: EventSpec(
        Level.WARNING,
        "A policy is served by another backend from now on.",
        {
            "policy": POLICY,
            "backend": _text("kernel, userspace or none"),
            "was": _text("the backend before; none: new, or it had none"),
            "reason": _text("why it is not the kernel; empty when it is"),
        },
    ),
}

_POLICY = {
    Event.TARGETS_CHANGED: EventSpec(
        Level.INFO,
        "The processes a policy looks after changed; ages of those that stay are kept.",
        {
            "policy": POLICY,
            "added": Field(Kind.INTEGERS, "pids that came"),
            "removed": Field(Kind.INTEGERS, "pids that went"),
            "targets": _count("how many there are now"),
        },
    ),
    Event.POLICY_STATE_CHANGED: EventSpec(
        Level.INFO,
        "A policy's state changed.",
        {
            "policy": POLICY,
            "state": _text("active, paused, observing, waiting, unsupported, failed or drifted"),
            "was": _text("the state before; empty: new"),
            "reason": _text("why; empty for active and observing"),
        },
    ),
    Event.POLICY_UNSUPPORTED: EventSpec(
        Level.WARNING,
        "This kernel, or this machine as it is now, cannot run a policy; the others run.",
        {"policy": POLICY, "reason": REASON},
    ),
    Event.POLICIES_OVERLAP: EventSpec(
        Level.WARNING,
        "Enforcing policies act on the same processes. In the kernel all of them go on, in user "
        "space one.",
        {
            "policies": _texts("their names"),
            "pids": Field(Kind.INTEGERS, "processes they have in common; at most 16"),
            "processes": _count("how many they have in common"),
            "hint": HINT,
        },
    ),
    Event.GUARD_CHANGED: EventSpec(
        Level.WARNING,
        "How much of a policy's page-out its guard allows changed.",
        {
            "policy": POLICY,
            "stage": _text("free, slow, paused or tripped"),
            "was": _text("the stage before"),
            "share_bp": _count("share of the quotas that is allowed", "1/10000"),
            "signal": _text("what limits: the worst one; empty: nothing"),
            "reason": _text("the same with figures"),
            "until_us": _count("end of the hold-off, since boot", "us", optional=True),
        },
    ),
    Event.SCHEME_OUTCOME: EventSpec(
        Level.INFO,
        "What one scheme did since the last such line. Bytes count how often memory was worked "
        "on, not how much of it there is.",
        {
            "policy": POLICY,
            "mode": _text("observe or enforce"),
            "backend": _text("kernel or userspace"),
            "interval_us": _count("time the deltas cover", "us"),
            "targets": _count("processes or ranges monitored"),
            "regions": _count("monitoring regions", optional=True),
            "probe": _text("what told accesses; null in the kernel", optional=True),
            "index": _count("position of the scheme in the policy, from 0"),
            "action": _text("what the policy asks for, also while observing"),
            "nr_tried": _count("regions tried, since the scheme exists", "regions"),
            "sz_tried": _count("tried, since the scheme exists", "bytes"),
            "nr_applied": _count("regions applied to, since the scheme exists", "regions"),
            "sz_applied": _count("applied, since the scheme exists", "bytes"),
            "qt_exceeds": _count("times the quota was used up, since the scheme exists"),
            "nr_tried_delta": _count("regions tried in the interval", "regions"),
            "sz_tried_delta": _count("tried in the interval", "bytes"),
            "nr_applied_delta": _count("regions applied to in the interval", "regions"),
            "sz_applied_delta": _count("applied in the interval", "bytes"),
            "qt_exceeds_delta": _count("times the quota was used up in the interval"),
            "quota_bytes": _count("size quota per reset interval as configured; 0: none", "bytes"),
            "effective_bytes": _count("effective quota (esz)", "bytes", optional=True),
            "matched_bytes": _count("memory matching the pattern now", "bytes", optional=True),
            "goals": Field(Kind.GOALS, "metric, unit, target and current of each goal"),
        },
    ),
    Event.POLICY_OUTCOME: EventSpec(
        Level.INFO,
        "What came of a policy since the last such line, and why no more: its outcome record, but "
        "for its schemes, which have lines of their own.",
        {
            "policy": POLICY,
            "limited_by": _text("switch, guard:SIGNAL, goal:STEP, quota, pattern or none"),
            "reason": REASON,
            "record": Field(Kind.OBJECT, "as schemas/outcome-v1.schema.json says, without schemes"),
        },
    ),
}

EVENTS: dict[Event, EventSpec] = {**_LIFE, **_CONFIG, **_KERNEL, **_USERSPACE, **_POLICY}
