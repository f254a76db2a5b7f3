"""A goal, in either of its two forms, into `model.policy.Goal`."""

from __future__ import annotations

from damos_agent.config.shape_quota import (
    GoalShape,
    GroupRate,
    GroupShare,
    GroupSize,
    LongGoalShape,
    MemcgGoal,
    NodeGoal,
    UserInput,
    parse_target,
)
from damos_agent.model.policy import External, Goal, GoalMetric


def build_goal(shape: GoalShape | LongGoalShape) -> Goal:
    """The goal a shape describes."""
    if isinstance(shape, LongGoalShape):
        target = parse_target(shape.metric, shape.target)
        return Goal(shape.metric, target, shape.current, shape.node, shape.cgroup)
    key = shape.given()[0]
    metric, value = GoalMetric(key), getattr(shape, key)
    match value:
        case UserInput():
            return Goal(metric, value.target, current=value.current, source=_source(value))
        case GroupShare() | GroupRate() | GroupSize():
            return Goal(metric, value.target, cgroup=value.cgroup)
        case NodeGoal():
            return Goal(metric, value.target, nid=value.node)
        case MemcgGoal():
            return Goal(metric, value.target, nid=value.node, cgroup=value.cgroup)
    return Goal(metric, value)


def _source(shape: UserInput) -> External | None:
    if shape.feed is None and shape.file is None:
        return None
    return External(shape.feed or "", shape.file or "", shape.stale_after)
