"""Cgroups: members, units, containers."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from damos_agent.host.cgroup import (
    container_id,
    find_container,
    find_unit,
    read_hierarchy,
    read_pids,
)
from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError
from tests.host.fakes import FakeFilesystem, plant

ROOT = "/sys/fs/cgroup"
A, B = "a1b2" + "0" * 60, "a1b3" + "f" * 60


def hierarchy(*paths: str, procs: dict[str, str | int] | None = None) -> FakeFilesystem:
    fs = FakeFilesystem()
    for path in ("", *paths):
        for name in ("cgroup.controllers", "cgroup.procs", "memory.current", "pids.max"):
            fs.files[f"{ROOT}{path}/{name}"] = ""
    for path, text in (procs or {}).items():
        fs.files[f"{ROOT}{path}/cgroup.procs"] = text
    return fs


def test_members_with_and_without_descendants() -> None:
    fs = hierarchy("/a/b/c", procs={"/a": "1\n2\n", "/a/b": "3\n", "/a/b/c": "4\n0\n"})
    assert read_pids(fs, ROOT, "/a", descendants=True) == frozenset({1, 2, 3, 4})
    assert read_pids(fs, ROOT, "/a/", descendants=False) == frozenset({1, 2})
    assert read_pids(fs, ROOT, "/", descendants=True) == frozenset({1, 2, 3, 4})


def test_a_cgroup_that_is_not_there_has_no_members_at_all() -> None:
    assert read_pids(hierarchy(), ROOT, "/a", descendants=True) is None


@pytest.mark.parametrize("answer", [errno.ENODEV, errno.ENOENT, errno.EOPNOTSUPP])
def test_a_vanished_or_threaded_descendant_is_normal(answer: int) -> None:
    fs = hierarchy("/a/b", procs={"/a": "1\n", "/a/b": answer})
    assert read_pids(fs, ROOT, "/a", descendants=True) == frozenset({1})


def test_an_unreadable_cgroup_is_an_error_with_its_errno() -> None:
    fs = hierarchy("/a", procs={"/a": errno.EMFILE})
    with pytest.raises(HostError) as caught:
        read_pids(fs, ROOT, "/a", descendants=True)
    assert caught.value.errno == errno.EMFILE


def test_a_path_cannot_leave_the_hierarchy() -> None:
    with pytest.raises(HostError, match="out of the hierarchy"):
        read_pids(hierarchy(), ROOT, "/a/../../../proc", descendants=True)


def test_the_hierarchy_is_found_unified_or_hybrid() -> None:
    assert read_hierarchy(hierarchy(), Roots()) == ROOT
    hybrid = FakeFilesystem({f"{ROOT}/unified/cgroup.controllers": "", f"{ROOT}/memory/tasks": ""})
    assert read_hierarchy(hybrid, Roots()) == f"{ROOT}/unified"
    with pytest.raises(HostError, match="no cgroup v2"):
        read_hierarchy(FakeFilesystem({f"{ROOT}/memory/tasks": ""}), Roots())


UNITS = (
    "/init.scope",
    "/system.slice/nginx.service/worker",
    "/system.slice/system-getty.slice/getty@tty1.service",
    "/system.slice/system-foo\\x2dbar.slice/foo-bar@a\\x2db.service",
    "/system.slice/_cpu.service",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/editor.service",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/both.service",
    "/user.slice/user-1001.slice/user@1001.service/app.slice/both.service",
    "/machine.slice/machine-box.scope/payload/system.slice/inner.service",
)


@pytest.mark.parametrize(
    ("unit", "path"),
    [
        ("nginx.service", UNITS[1].removesuffix("/worker")),
        ("nginx", UNITS[1].removesuffix("/worker")),
        ("getty@tty1.service", UNITS[2]),
        ("foo-bar@a\\x2db.service", UNITS[3]),
        ("cpu.service", UNITS[4]),
        ("editor.service", UNITS[5]),
        ("init.scope", UNITS[0]),
        ("system.slice", "/system.slice"),
        ("user@1001.service", "/user.slice/user-1001.slice/user@1001.service"),
        ("inner.service", None),
        ("gett", None),
        ("worker", None),
    ],
)
def test_units_are_found_by_name(unit: str, path: str | None) -> None:
    assert find_unit(hierarchy(*UNITS), ROOT, unit) == path


def test_a_unit_of_several_users_is_ambiguous() -> None:
    with pytest.raises(HostError, match=r"user@1000.*user@1001"):
        find_unit(hierarchy(*UNITS), ROOT, "both.service")


@pytest.mark.parametrize(
    "path",
    [
        f"/system.slice/docker-{A}.scope",
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-pod1.slice/cri-containerd-{A}.scope",
        f"/kubepods.slice/crio-{A}.scope",
        f"/machine.slice/libpod-{A}.scope",
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope",
        f"/docker/{A}",
        f"/kubepods/burstable/pod-1/{A}",
    ],
)
def test_containers_of_every_runtime_are_found_by_prefix(path: str) -> None:
    fs = hierarchy(path, f"/other/{'c' * 64}", f"{path}/init")
    for prefix in ("a1b2", A[:12], A):
        assert find_container(fs, ROOT, prefix) == path


def test_a_machine_of_nspawn_is_found_by_its_unescaped_name() -> None:
    path = "/machine.slice/machine-cafe\\x2d1.scope"
    assert find_container(hierarchy(path), ROOT, "cafe-1") == path


def test_an_ambiguous_prefix_names_both_and_an_exact_id_wins() -> None:
    fs = hierarchy(f"/docker/{A}", f"/system.slice/docker-{B}.scope")
    with pytest.raises(HostError, match=f"{A} and {B}"):
        find_container(fs, ROOT, "a1b")
    assert find_container(fs, ROOT, "a1b3") == f"/system.slice/docker-{B}.scope"
    short, longer = "abcdefabcdef", "abcdefabcdef00"
    fs = hierarchy(f"/docker-{short}.scope", f"/docker-{longer}.scope")
    assert find_container(fs, ROOT, short) == f"/docker-{short}.scope"


def test_the_outermost_cgroup_of_one_container_counts() -> None:
    fs = hierarchy(f"/libpod-{A}.scope/container/{A}")
    assert find_container(fs, ROOT, "a1") == f"/libpod-{A}.scope"


@pytest.mark.parametrize(
    "name", [f"crio-conmon-{A}.scope", "user.slice", "docker-xyz.scope", "deadbeef", A[:40]]
)
def test_monitors_and_other_cgroups_are_no_containers(name: str) -> None:
    assert container_id(name) is None


def test_the_kernels_files_are_probed_once_not_in_every_cgroup() -> None:
    fs = hierarchy(*(f"/a{i}/b" for i in range(50)))
    fs.reads.clear()
    assert find_container(fs, ROOT, "abc") is None
    assert sum(n for path, n in fs.reads.items() if path.endswith("/pids.max")) == 1


def test_a_fixture_tree_on_disk_reads_the_same(tmp_path: Path) -> None:
    """ENOTDIR and ENOENT of a real file system are understood as those of the fake."""
    name = f"system.slice/docker-{A}.scope"
    plant(tmp_path, {"cgroup.controllers": "", f"{name}/cgroup.procs": "7\n"})
    plant(tmp_path, {"system.slice/x.service/cgroup.procs": "8\n", "cgroup.procs": "1\n"})
    fs, roots = RealFilesystem(), Roots(cgroup=str(tmp_path))
    root = read_hierarchy(fs, roots)
    assert find_container(fs, root, "a1b2") == f"/{name}"
    assert find_unit(fs, root, "x") == "/system.slice/x.service"
    assert read_pids(fs, root, "/", descendants=True) == frozenset({1, 7, 8})


@pytest.fixture
def live_cgroup() -> Iterator[Path]:
    try:
        root = read_hierarchy(RealFilesystem(), Roots())
    except HostError as error:
        pytest.skip(f"needs cgroup v2: {error}")
    path = Path(root) / f"damos-agent-test-{os.getpid()}"
    try:
        (path / "below").mkdir(parents=True)
    except OSError as error:
        pytest.skip(f"needs to create a cgroup: {error}")
    yield path
    (path / "below").rmdir()
    path.rmdir()


def test_a_real_cgroup_tells_its_members_and_its_end(live_cgroup: Path) -> None:
    root, path = str(live_cgroup.parent), f"/{live_cgroup.name}"
    fs = RealFilesystem()
    assert read_pids(fs, root, path, descendants=True) == frozenset()
    with subprocess.Popen(["sleep", "100"]) as child:
        try:
            (live_cgroup / "below" / "cgroup.procs").write_text(str(child.pid))
            assert read_pids(fs, root, path, descendants=True) == frozenset({child.pid})
            assert read_pids(fs, root, path, descendants=False) == frozenset()
        finally:
            child.kill()
    assert read_pids(fs, root, path, descendants=True) == frozenset()
    assert read_pids(fs, root, f"{path}/gone", descendants=True) is None
