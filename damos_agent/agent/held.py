"""What is held, kept in /run: a restart forgets neither a pause nor a hold-off, a boot does.

`damosctl plan` and `verify` read it, too, so that they compare with what is in force.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from damos_agent.agent.atomic import write_atomic
from damos_agent.agent.kept import read_kept
from damos_agent.algo.goals import is_steered
from damos_agent.algo.guard import Guard
from damos_agent.algo.overlay import Hold, has_auto_age, pages_out
from damos_agent.model.codec import encode
from damos_agent.model.errors import HostError
from damos_agent.model.feature import Features
from damos_agent.model.policy import Policy
from damos_agent.model.units import format_duration

EVERYTHING = ""
"""In place of a policy's name: all of them."""
STATE = "held.json"
DISABLE = "disable"


@dataclass(frozen=True, slots=True)
class Held:
    """`paused`: names of policies, or `EVERYTHING`; `guards` that limit anything, or have lately;
    `sizes`: steered quotas in bytes, by policy and scheme; `ages`: found out for `age: auto`.
    """

    boot_id: str = ""
    paused: frozenset[str] = frozenset()
    guards: dict[str, Guard] = field(default_factory=dict)
    sizes: dict[str, dict[int, int]] = field(default_factory=dict)
    ages: dict[str, int] = field(default_factory=dict)


def is_disabled(run: str) -> bool:
    """Whether the kill switch is there: a file that anybody with a shell can make."""
    return os.path.lexists(f"{run}/{DISABLE}")


def load_held(run: str, boot_id: str) -> Held:
    """What was kept on this boot. Raises `HostError` when it is there but makes no sense."""
    hint = "pauses and hold-offs start anew; it is replaced with the next one"
    held = read_kept(Held, f"{run}/{STATE}", hint) or Held(boot_id)
    return held if held.boot_id == boot_id else Held(boot_id)


def save_held(run: str, held: Held) -> None:
    """Keep it. Raises `HostError`."""
    path = f"{run}/{STATE}"
    try:
        write_atomic(path, json.dumps(encode(held), separators=(",", ":")).encode(), mode=0o644)
    except OSError as error:
        raise HostError(
            f"cannot keep what is paused: {error.strerror or error}",
            path=path,
            errno=error.errno,
            hint="a restart would forget it",
        ) from error


def find_hold(
    policy: Policy, held: Held, features: Features, run: str, now_us: int, grace_us: int
) -> Hold:
    """What holds a policy at `now_us` since boot. `grace_us`: so long after boot nothing acts."""
    sizes = held.sizes.get(policy.name, {}) if is_steered(policy, features) else {}
    why = _switched_off(policy.name, held, run, now_us, grace_us)
    state = held.guards.get(policy.name, Guard()) if pages_out(policy) else Guard()
    age = held.ages.get(policy.name) if has_auto_age(policy) else None
    if state.stage.acts:
        return Hold(why, "", state.share_bp, sizes, age)
    return Hold(why, f"guard: {state.why}", 0, sizes, age)


def _switched_off(name: str, held: Held, run: str, now_us: int, grace_us: int) -> str:
    if is_disabled(run):
        return f"everything is disabled: {run}/{DISABLE} exists"
    if EVERYTHING in held.paused:
        return "everything is paused: damosctl resume goes on"
    if name in held.paused:
        return f"paused: damosctl resume {name} goes on"
    if now_us < grace_us:
        return f"the machine is up for less than {format_duration(grace_us)} (boot_grace)"
    return ""
