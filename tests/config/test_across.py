"""Policies against each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from damos_agent.config.check_across import overlap
from damos_agent.config.compile import compile_files
from damos_agent.model.policy import (
    AddressRange,
    CgroupTarget,
    ContainerTarget,
    PhysicalTarget,
    PidTarget,
    ProcessTarget,
    Target,
    UnitTarget,
)
from tests.config import samples

WHOLE = PhysicalTarget()
GIB = 1 << 30
ID = "abcdef" + "0" * 58


def ranges(*spans: tuple[int, int]) -> PhysicalTarget:
    return PhysicalTarget(ranges=tuple(AddressRange(*span) for span in spans))


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [
        (WHOLE, WHOLE, True),
        (WHOLE, PhysicalTarget(numa_node=1), True),
        (WHOLE, ProcessTarget(exe="a"), True),
        (PhysicalTarget(numa_node=0), PhysicalTarget(numa_node=1), False),
        (PhysicalTarget(numa_node=0), ProcessTarget(exe="a"), False),
        (ranges((0, GIB)), ranges((GIB, 2 * GIB)), False),
        (ranges((0, GIB + 1)), ranges((GIB, 2 * GIB)), True),
        (PidTarget((1, 2)), PidTarget((2, 3)), True),
        (PidTarget((1,)), PidTarget((2,)), False),
        (ProcessTarget(exe="a"), ProcessTarget(exe="a"), True),
        (ProcessTarget(exe="a"), ProcessTarget(exe="b"), False),
        (CgroupTarget("/a"), CgroupTarget("/a/b"), True),
        (CgroupTarget("/a", descendants=False), CgroupTarget("/a/b"), False),
        (CgroupTarget("/a"), CgroupTarget("/ab"), False),
        (CgroupTarget("/"), CgroupTarget("/ab"), True),
        (UnitTarget("x.service"), UnitTarget("x.service"), True),
        (UnitTarget("x.service"), CgroupTarget("/system.slice/x.service"), True),
        (UnitTarget("x.service"), CgroupTarget("/system.slice/y.service"), False),
        (ContainerTarget("abcdef"), ContainerTarget("abcdef"), True),
        (ContainerTarget("abcdef"), ContainerTarget("abcdee"), False),
        (ContainerTarget("abcdef"), ContainerTarget("abcdef12"), True),
        (ContainerTarget("abcdef"), CgroupTarget(f"/system.slice/docker-{ID}.scope"), True),
        (ContainerTarget("bcdef"), CgroupTarget(f"/system.slice/docker-{ID}.scope"), False),
        (ProcessTarget(exe="memcached"), ProcessTarget(exe="/usr/bin/memcached"), True),
        (ProcessTarget(exe="/opt/memcached"), ProcessTarget(exe="/usr/bin/memcached"), False),
        (ProcessTarget(exe="a"), ProcessTarget(exe="/bin/a", user="root"), True),
        (ProcessTarget(exe="a", user="x"), ProcessTarget(exe="a", user="y"), False),
        (ProcessTarget(exe="a"), ProcessTarget(cmdline="a"), False),
        (UnitTarget("system.slice"), UnitTarget("ssh.service"), True),
        (UnitTarget("-.slice"), UnitTarget("ssh.service"), True),
        (UnitTarget("user.slice"), UnitTarget("ssh.service"), False),
        (UnitTarget("user-1000.slice"), UnitTarget("user@1000.service"), True),
        (UnitTarget("system-a.slice"), UnitTarget("a@1.service"), True),
        (UnitTarget("a.slice"), UnitTarget("a-b.slice"), True),
        (UnitTarget("a.slice"), UnitTarget("ab.slice"), False),
        (UnitTarget("ssh.service"), CgroupTarget("/system.slice"), True),
        (UnitTarget("ssh.service"), CgroupTarget("/system.slice", descendants=False), False),
        (UnitTarget("ssh.service"), CgroupTarget("/", descendants=False), False),
        (UnitTarget("system.slice"), CgroupTarget("/system.slice/ssh.service"), True),
        (CgroupTarget("/"), ProcessTarget(exe="a"), True),
    ],
)
def test_overlap_is_symmetric(one: Target, other: Target, meets: bool) -> None:
    assert overlap(one, other) is meets
    assert overlap(other, one) is meets


def codes_of(tmp_path: Path, *texts: str) -> list[list[str]]:
    paths = []
    for index, text in enumerate(texts):
        path = tmp_path / f"{index}.yaml"
        path.write_text(text)
        paths.append(str(path))
    return [[one.code for one in file.findings] for file in compile_files(paths).files]


def test_a_name_used_again_rejects_the_later_file(tmp_path: Path) -> None:
    found = codes_of(tmp_path, samples.policy("a"), samples.policy("b"), samples.policy("a"))

    assert found == [[], [], ["DA100"]]


def test_a_fight_is_reported_at_the_later_file(tmp_path: Path) -> None:
    found = codes_of(
        tmp_path, samples.policy("a", mode="enforce"), samples.policy("b", mode="enforce")
    )

    assert found == [[], ["DA101"]]


def test_all_opponents_are_named(tmp_path: Path) -> None:
    for name in "abcdef":
        (tmp_path / f"{name}.yaml").write_text(samples.policy(name, mode="enforce"))
    messages = [
        [one.message.replace(f"{tmp_path}/", "") for one in file.findings]
        for file in compile_files([str(tmp_path)]).files
    ]
    start = "works on the same memory as "
    assert messages[2] == [f"{start}a in a.yaml, b in b.yaml"]
    assert messages[5] == [f"{start}a in a.yaml, b in b.yaml, c in c.yaml and 2 more"]


@pytest.mark.parametrize(
    "later",
    [
        samples.policy("b", mode="observe"),
        samples.policy("b", mode="enforce", action="stat"),
        samples.policy("b", mode="enforce", target="{pid: 7}"),
    ],
)
def test_no_fight(tmp_path: Path, later: str) -> None:
    assert codes_of(tmp_path, samples.policy("a", mode="enforce"), later) == [[], []]


def test_findings_name_their_policy_and_place(tmp_path: Path) -> None:
    for name in ("1.yaml", "2.yaml"):
        (tmp_path / name).write_text(samples.policy("same"))
    (_, second) = compile_files([str(tmp_path)]).files

    assert (second.policy, second.findings[0].policy) == (None, "same")
    assert (second.findings[0].line, second.findings[0].column) == (3, 18)
