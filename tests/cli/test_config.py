"""config, features and schema: what is in effect, what could be, and what may be written."""

import json
import os
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import yaml

from damos_agent.agent.loader import Loaded, merge, save_loaded
from damos_agent.cli.document import document_of
from damos_agent.config.compile import compile_text, compile_tree
from damos_agent.config.trust import Trust
from damos_agent.model.policy import (
    AddressRange,
    ContainerTarget,
    External,
    ExternalLimit,
    FailCharge,
    Filter,
    FilterType,
    Goal,
    GoalMetric,
    Limits,
    Origin,
    PhysicalTarget,
    PidTarget,
    Policy,
    ProbeChoice,
    Quota,
    UnitTarget,
    Userspace,
)
from tests.agent.world import World
from tests.cli.desk import BAD, POLICIES, STATUS, WORK, Desk, agent
from tests.cli.test_plan import Denied

SHIPPED = sorted(path for path in POLICIES.glob("*.yaml") if path.name != "agent.yaml")


def compiled(text: str) -> Policy:
    """The one policy in `text`, which has no errors, without its origin."""
    file = compile_text(text).files[0]
    assert file.policy is not None, [str(found) for found in file.findings]
    return replace(file.policy, origin=Origin())


def again(policy: Policy) -> Policy:
    """Spelled out and read back."""
    return compiled(yaml.safe_dump(document_of(policy), sort_keys=False))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_policy_spelled_out_means_the_same(path: Path) -> None:
    policy = compiled(path.read_text())

    assert again(policy) == policy


@pytest.mark.parametrize(
    "target",
    [
        PidTarget((7,)),
        PidTarget((7, 8)),
        UnitTarget("x.service"),
        ContainerTarget("abcdef"),
        PhysicalTarget(),
        PhysicalTarget(numa_node=1),
        PhysicalTarget(ranges=(AddressRange(4096, 1 << 30), AddressRange(1 << 32, 1 << 33))),
    ],
)
def test_every_target_spelled_out_means_the_same(
    target: PidTarget | UnitTarget | ContainerTarget | PhysicalTarget,
) -> None:
    policy = replace(compiled(WORK), target=target)

    assert again(policy) == policy


@pytest.mark.parametrize(
    "goal",
    [
        Goal(GoalMetric.MEMORY_PSI_SOME, 125),
        Goal(GoalMetric.NODE_MEM_FREE, 50, nid=1),
        Goal(GoalMetric.NODE_MEMCG_USED, 50, nid=0, cgroup="/a"),
        Goal(GoalMetric.USER_INPUT, 10_000, current=5),
        Goal(GoalMetric.USER_INPUT, 10_000),
        Goal(GoalMetric.RSS, 8 << 30),
        Goal(GoalMetric.REFAULT_RATE, 20),
    ],
    ids=lambda goal: goal.metric,
)
def test_every_kind_of_goal_spelled_out_means_the_same(goal: Goal) -> None:
    scheme = compiled(WORK).schemes[0]
    quota = Quota(time_us=7_000, size=4096, goals=(goal,), fail_charge=FailCharge(1, 1024))
    policy = replace(compiled(WORK), schemes=(replace(scheme, quota=quota),))

    assert again(policy) == policy


@pytest.mark.parametrize(
    "item",
    [
        Filter(FilterType.ANON, allow=True),
        Filter(FilterType.YOUNG, allow=False, matching=False),
        Filter(FilterType.MEMCG, allow=False, cgroup="/a/b"),
        Filter(FilterType.ADDR, allow=True, range=AddressRange(4096, 8192)),
        Filter(FilterType.HUGEPAGE_SIZE, allow=False, size_min=4096, size_max=2 << 20),
    ],
    ids=lambda item: item.type,
)
def test_every_kind_of_filter_spelled_out_means_the_same(item: Filter) -> None:
    scheme = replace(compiled(WORK).schemes[0], filters=(item,))
    policy = replace(compiled(WORK), target=PhysicalTarget(), schemes=(scheme,))

    assert again(policy) == policy


def test_config_names_files_and_what_they_mask(desk: Desk) -> None:
    lower = desk.config / "usr/lib/damos-agent/policies.d"
    lower.mkdir(parents=True)
    (lower / "work.yaml").write_text(WORK)
    path = desk.put("work.yaml", WORK.replace("enforce", "observe"))

    result = desk.run("config")

    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines()]
    assert lines[0] == ["POLICY", "MODE", "DIGEST", "FILE"]
    assert (lines[1][0], lines[1][1], lines[1][3]) == ("work", "observe", str(path))
    assert lines[2] == ["masks", f"{lower}/work.yaml"]


def test_rejected_files_are_shown_with_their_errors(desk: Desk) -> None:
    path = desk.put("bad.yaml", BAD)

    result = desk.run("config")

    assert result.exit_code == 1
    assert f"rejected: {path}\n  {path}:14:15: error DA022" in result.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root refuses directories")
def test_a_refused_directory_is_a_failure(desk: Desk) -> None:
    desk.put("work.yaml")
    desk.policies.chmod(0o777)

    result = desk.run("config")

    assert "DA110" in result.output
    assert result.exit_code == 1


def keep(desk: Desk) -> None:
    """What the agent leaves below /run when it has read the files as they are."""
    desk.run_root.mkdir(exist_ok=True)
    files = compile_tree(str(desk.config), trust=Trust(enforced=False))
    save_loaded(merge(Loaded(), files, 1.0), str(desk.run_root / "loaded.json"))


def test_a_last_good_version_that_goes_on_is_shown(desk: Desk) -> None:
    path = desk.put("work.yaml")
    good = desk.run("config").output.splitlines()
    keep(desk)
    desk.put("work.yaml", WORK.replace("size: 1MiB", "sise: 1MiB"))

    result = desk.run("config")
    document = json.loads(desk.run("config", "--json").output)
    shown = desk.run("config", "--show", "work")

    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[:2] == good
    assert lines[2].strip() == "rejected now: its last good version counts"
    assert f"rejected: {path}" in lines
    assert document["files"][0]["policy"] is None
    (kept,) = document["last_good"]
    assert (kept["path"], kept["policy"]["metadata"]["name"]) == (str(path), "work")
    assert shown.exit_code == 0
    assert shown.output.startswith(f"# {path}, rejected now")
    assert compiled(shown.output) == compiled(WORK)


def test_what_an_agent_keeps_of_another_place_is_not_shown(desk: Desk, tmp_path: Path) -> None:
    desk.put("work.yaml")
    keep(desk)
    desk.config = tmp_path / "elsewhere"
    desk.put("work.yaml", WORK.replace("size: 1MiB", "sise: 1MiB"))

    assert desk.run("config").output.startswith("no policies\n")


def test_config_json_is_complete(desk: Desk) -> None:
    desk.put("work.yaml")
    desk.put("bad.yaml", BAD)

    document = json.loads(desk.run("config", "--json").output)

    bad, good = document["files"]
    assert (bad["policy"], bad["findings"][0]["code"]) == (None, "DA022")
    assert good["policy"]["metadata"] == {"name": "work"}
    assert document["settings"]["slots"] == 16


def test_show_prints_a_policy_file(desk: Desk) -> None:
    path = desk.put("work.yaml")

    shown = desk.run("config", "--show", "work")
    as_json = json.loads(desk.run("config", "--show", "work", "--json").output)

    assert shown.output.startswith(f"# {path}\napiVersion: damos-agent/v1\n")
    assert compiled(shown.output) == compiled(WORK)
    assert yaml.safe_load(shown.output) == as_json


def test_show_of_nothing_is_1(desk: Desk) -> None:
    result = desk.run("config", "--show", "ghost")

    assert result.exit_code == 1
    assert "no policy named ghost" in result.stderr


def test_features_of_a_release_follow_the_release(desk: Desk) -> None:
    old = desk.run("features", "--kernel", "6.12").output
    new = desk.run("features", "--kernel", "7.3").output

    assert "filter_allow         6.14   no" in old
    assert "filter_allow         6.14   yes" in new


def test_features_tell_which_policies_can_run(desk: Desk) -> None:
    desk.world = World("6.12")
    desk.put("demote.yaml", (POLICIES / "tiering-demote.yaml").read_text())
    desk.put("work.yaml")

    result = desk.run("features")
    document = json.loads(desk.run("features", "--json").output)

    assert result.exit_code == 0
    assert "work            yes" in result.output
    assert "tiering-demote  no: " in result.output
    assert document["policies"]["work"]["can_enforce"] is True
    assert document["policies"]["tiering-demote"]["can_run"] is False
    assert document["features"]["goals"]["files"] == ["contexts/N/schemes/N/quotas/goals/nr_goals"]


def test_a_probe_that_the_running_agent_uses_is_said_to_be_in_use(desk: Desk) -> None:
    """Whatever files it reads: those on the search path here name no probe."""
    policy = replace(STATUS.policies[0], backend="userspace", probe="pte", name="cold")
    assert "pte               page      no: experimental" in desk.run("features").output

    with agent(desk.run_root, replace(STATUS, policies=(policy,))):
        result = desk.run("features")
        document = json.loads(desk.run("features", "--json").output)

    assert "pte               page      yes, in use by cold" in result.output
    (rung,) = [one for one in document["probes"] if one["name"] == "pte"]
    assert (rung["reason"], rung["used_by"]) == ("", ["cold"])


def test_a_policy_that_could_only_observe_is_marked(desk: Desk) -> None:
    goal = "interval: 1s, goals: [{node_mem_free: {target: 5%, node: 0}}]"
    desk.put("work.yaml", WORK.replace("enforce", "observe").replace("interval: 1s", goal))

    result = desk.run("features", "--kernel", "6.12")

    assert "work    observe only: goal 'node_mem_free' needs" in result.output


def test_features_count_kdamonds_and_swap(desk: Desk) -> None:
    desk.world = World(modules=("stat",))
    desk.world.machine.files["/proc/swaps"] = (
        "Filename Type Size Used Priority\n/dev/zram0 partition 1048576 0 100\n"
    )
    desk.put("work.yaml")

    document = json.loads(desk.run("features", "--json").output)
    result = desk.run("features")

    assert document["host"]["exclusive_modules"] == ["damon_stat"]
    assert document["host"]["swap"] == {"/dev/zram0": 1 << 30}
    assert "exclusive modules  damon_stat" in result.output
    assert "swap               /dev/zram0 1.0 GiB" in result.output


def test_features_work_without_root(desk: Desk) -> None:
    desk.fs = Denied(desk.world.machine)

    result = desk.run("features")

    assert result.exit_code == 0
    assert "kdamonds           not known: " in result.output


def test_features_without_damon_is_69(desk: Desk) -> None:
    assert desk.run("--sysfs-root", "/nowhere", "features").exit_code == 69
    assert desk.run("features", "--kernel", "5.10").exit_code == 69


@pytest.mark.parametrize("kind", ["policy", "agent", "event"])
def test_a_schema_is_the_committed_one(desk: Desk, kind: str) -> None:
    result = desk.run("schema", kind)

    committed = POLICIES.parent / "schemas" / f"{kind}-v1.schema.json"
    assert json.loads(result.output) == json.loads(committed.read_text())
    jsonschema.Draft7Validator.check_schema(json.loads(result.output))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a DAMON sysfs that root may read")
def test_this_very_machine_can_be_looked_at(desk: Desk) -> None:
    """Reading only: the real roots, where there is a DAMON at all."""
    from click.testing import CliRunner

    from damos_agent.cli.main import damosctl

    args = ["--config-root", str(desk.config), "--run-root", str(desk.run_root)]
    here = os.path.exists("/sys/kernel/mm/damon/admin/kdamonds")

    result = CliRunner().invoke(damosctl, [*args, "features"])

    assert result.exit_code == (0 if here else 69)
    assert os.uname().release in result.output


@pytest.mark.parametrize(
    "guard",
    [
        Limits(),
        Limits(None, None, None, None, None),
        Limits(100, 1, 2, 3, 4, (ExternalLimit(External("p99", stale_us=5_000_000), 200),)),
        Limits(external=(ExternalLimit(External(path="/run/p99"), 7),)),
    ],
)
def test_every_guard_spelled_out_means_the_same(guard: Limits) -> None:
    own = Userspace(ProbeChoice.VMA, 250, 7_000)
    policy = compiled(WORK)
    policy = replace(policy, guard=guard, monitoring=replace(policy.monitoring, userspace=own))

    assert again(policy) == policy
