"""The multi-gen LRU's file as 6.12 and 7.3 write it, and the commands it takes."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.host.mglru import (
    Generation,
    LruNode,
    age_command,
    command,
    evict_command,
    find_nodes,
    is_enabled,
    parse_lru_gen,
    read_lru_gen,
)
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError, UnsupportedError
from tests.host.fakes import FakeFilesystem

PATH = "/sys/kernel/debug/lru_gen"

# Captured in guests, the second node and the name with a space added.
V6_12 = """\
memcg     1 /
 node     0
          0      26264          0           0 
          1      26264          0         577 
          2      26264         65           0 
          3      26264       2716        4200 
memcg     2 /probe
 node     0
          4       6144      17279          11 
          5       4120        103           0 
 node     1
          0         10          0           0 
memcg 65535 /a b.service
 node     0
          6       2076      16959           0 
          7          8          0           0 
"""  # noqa: W291
V7_3 = """\
memcg 1 /
 node     0
          0      23760          0         330 
          1      23760          0        4328 
memcg 18446744073709551615 /probe
 node     0
          4       6132      17667          11 
"""  # noqa: W291


def test_6_12() -> None:
    found = parse_lru_gen(V6_12, 4096)
    assert [(one.memcg, one.path, one.node) for one in found] == [
        (1, "/", 0),
        (2, "/probe", 0),
        (2, "/probe", 1),
        (65535, "/a b.service", 0),
    ]
    assert found[1].generations[0] == Generation(4, 6144, 17279 * 4096, 11 * 4096)
    assert found[1].generations[0].total_bytes == 17290 * 4096
    assert (found[1].oldest, found[1].youngest) == (4, 5)


def test_7_3_has_wider_ids() -> None:
    found = parse_lru_gen(V7_3, 4096)
    assert found[1].memcg == (1 << 64) - 1
    assert found[1].path == "/probe"


def test_a_path_is_that_cgroup_alone() -> None:
    found = parse_lru_gen(V6_12, 4096)
    assert [one.node for one in find_nodes(found, "/probe")] == [0, 1]
    assert [one.memcg for one in find_nodes(found, "/")] == [1]
    assert find_nodes(found, "/pro") == ()


def test_a_kernel_without_memory_cgroups_has_one_nameless() -> None:
    (one,) = parse_lru_gen("memcg     0 \n node     0\n  3  5  6  7x\n", 1)
    assert one == LruNode(0, "", 0, (Generation(3, 5, 6, 7),))


@given(st.integers(0, len(V6_12)))
def test_cut_anywhere_it_can_be_read(cut: int) -> None:
    whole = parse_lru_gen(V6_12, 4096)
    found = parse_lru_gen(V6_12[:cut], 4096)
    assert len(found) <= len(whole)
    assert [one.node for one in found] == [one.node for one in whole[: len(found)]]


def test_commands() -> None:
    node = LruNode(28, "/probe", 1, tuple(Generation(n, 9 - n, 0, 0) for n in (4, 5, 6, 7)))
    assert age_command(node) == "+ 28 1 7"
    assert evict_command(node, 5, "max", 4096) == "- 28 1 5 max 4096"
    for young in (6, 7):
        with pytest.raises(ValueError, match="too young"):
            evict_command(node, young, "0", 1)


@pytest.mark.parametrize(
    ("text", "enabled"),
    [("0x0007\n", True), ("0x0001\n", True), ("0x0006\n", False), (errno.ENOENT, False)],
)
def test_whether_the_kernel_uses_it(text: str | int, enabled: bool) -> None:
    assert is_enabled(FakeFilesystem({"/sys/kernel/mm/lru_gen/enabled": text}), Roots()) is enabled


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EPERM])
def test_absent_or_locked_down_is_unsupported(number: int) -> None:
    with pytest.raises(UnsupportedError, match="lockdown") as caught:
        read_lru_gen(FakeFilesystem({PATH: number}), Roots())
    assert (caught.value.path, caught.value.errno) == (PATH, number)


def test_without_the_right_it_is_the_hosts_error() -> None:
    with pytest.raises(HostError, match="run as root"):
        read_lru_gen(FakeFilesystem({PATH: errno.EACCES}), Roots())


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EINTR])
def test_a_refused_command_is_named(number: int) -> None:
    class Refusing(FakeFilesystem):
        def write(self, path: str, text: str) -> None:
            raise OSError(number, "no", path)

    with pytest.raises(HostError, match=r"`\+ 1 0 3`") as caught:
        command(Refusing(), Roots(), "+ 1 0 3")
    assert caught.value.errno == number
