"""plan and verify: what they say is what the agent does, and they write nothing."""

import errno
import json
import os
import shlex
import shutil
from pathlib import Path

import pytest

from damos_agent.agent.held import Held, save_held
from damos_agent.algo.overlay import Hold, overlay
from damos_agent.host.filesystem import Filesystem, RealFilesystem
from damos_agent.kernel.features import profile_of
from damos_agent.kernel.tree import read_tree
from tests.agent.world import BOOT_ID, World
from tests.cli.desk import BAD, POLICIES, WORK, Desk
from tests.kernel.test_tree_features import lay_out
from tests.sim.damon import ROOT, SimulatedDamon

KDAMONDS = f"{ROOT}/kdamonds"
CAPTURED = Path(__file__).parents[1] / "sim" / "captured"
GOLDEN = Path(__file__).parent / "golden"
PHYSICAL = WORK.replace("process: {exe: work}", "physical: {}").replace("name: work", "name: ram")


class Denied:
    """A machine whose DAMON files an ordinary user may not open."""

    def __init__(self, inner: Filesystem) -> None:
        self.inner = inner

    def read(self, path: str) -> str:
        if path.startswith(KDAMONDS):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return self.inner.read(path)

    def write(self, path: str, text: str) -> None:
        raise AssertionError(path)

    def listdir(self, path: str) -> list[str]:
        return self.inner.listdir(path)

    def exists(self, path: str) -> bool:
        return self.inner.exists(path)

    def readlink(self, path: str) -> str:
        return self.inner.readlink(path)


def replay(script: str, damon: SimulatedDamon) -> None:
    """Do what the shell would."""
    for line in script.splitlines():
        if not line.startswith("#"):
            echo, value, arrow, path = shlex.split(line)
            assert (echo, arrow) == ("echo", ">")
            damon.write(path, value)


@pytest.mark.parametrize("output", ["text", "sysfs", "json"])
@pytest.mark.parametrize("kernel", ["6.12", "7.3"])
def test_a_profile_plan_is_the_one_we_know(desk: Desk, kernel: str, output: str) -> None:
    paths = [str(desk.put("10-work.yaml")), str(desk.put("20-ram.yaml", PHYSICAL))]

    result = desk.run("plan", "--kernel", kernel, "--output", output, *paths)

    assert result.exit_code == 0
    assert result.output == (GOLDEN / f"plan-{kernel}.{output}").read_text()


@pytest.mark.parametrize("kernel", ["6.12", "7.3"])
def test_the_shell_lines_do_what_the_agent_does(desk: Desk, kernel: str) -> None:
    desk.world = World(kernel)
    desk.world.spawn("work")
    desk.put("work.yaml")
    by_hand = SimulatedDamon(kernel)
    by_hand.spawn()

    script = desk.run("plan", "--output", "sysfs")
    replay(script.output, by_hand)
    desk.reconcile()
    desk.world.advance(10)
    desk.reconcile()

    agent = desk.world.damon
    assert read_tree(by_hand, f"{KDAMONDS}/0") == read_tree(agent, f"{KDAMONDS}/0")
    assert by_hand.read(f"{KDAMONDS}/0/state") == agent.read(f"{KDAMONDS}/0/state") == "on\n"
    assert [path for path, _ in by_hand.log] == [path for path, _ in agent.log]


def test_nothing_is_written(desk: Desk) -> None:
    desk.put("work.yaml")
    desk.world.spawn("work")

    for verb in (["plan"], ["plan", "-o", "json"], ["verify"], ["features"]):
        desk.run(*verb)

    assert desk.world.damon.log == []
    assert not desk.run_root.exists()


def test_in_sync_means_0_and_a_change_2(desk: Desk) -> None:
    desk.put("work.yaml")
    desk.world.spawn("work")
    fresh = desk.run("plan", "--detailed-exitcode")
    desk.reconcile()
    settled = desk.run("plan", "--detailed-exitcode")
    desk.put("work.yaml", WORK.replace("1MiB", "2MiB"))
    edited = desk.run("plan", "--detailed-exitcode")

    assert [fresh.exit_code, settled.exit_code, edited.exit_code] == [2, 0, 2]
    assert "= work: in sync" in settled.output
    assert "0 to change, 1 in sync; nothing to write" in settled.output
    changed = [line.split() for line in edited.output.splitlines() if "→" in line]
    assert changed == [["contexts/0/schemes/0/quotas/bytes", "1048576", "→", "2097152"]]


def test_a_removed_policy_is_planned_to_stop(desk: Desk) -> None:
    path = desk.put("work.yaml")
    desk.world.spawn("work")
    desk.reconcile()
    path.unlink()

    assert "- work: stop slot 0 (no longer wanted)" in desk.run("plan").output


def test_the_last_good_version_of_a_bad_file_is_left_running(desk: Desk) -> None:
    desk.put("work.yaml")
    desk.world.spawn("work")
    desk.reconcile()
    desk.put("work.yaml", WORK.replace("size: 1MiB", "sise: 1MiB"))

    result = desk.run("plan")

    assert result.exit_code == 1
    assert "stop slot" not in result.stdout
    assert "error DA022" in result.stderr


def test_a_policy_without_a_process_waits(desk: Desk) -> None:
    desk.put("work.yaml")

    result = desk.run("plan", "--detailed-exitcode")

    assert result.exit_code == 0
    assert ". work: waiting: no process matches exe=work" in result.output


def test_what_the_kernel_cannot_do_is_told_with_the_reason(desk: Desk) -> None:
    result = desk.run("plan", "--kernel", "6.12", str(POLICIES / "tiering-demote.yaml"))

    assert result.exit_code == 0
    assert "x tiering-demote: unsupported:" in result.output
    assert "it came with Linux 6.15" in result.output


def test_errors_of_a_file_do_not_hide_the_plan_for_others(desk: Desk) -> None:
    desk.put("bad.yaml", BAD)
    desk.put("work.yaml")

    result = desk.run("plan", "--kernel", "7.3")

    assert result.exit_code == 1
    assert "error DA022" in result.stderr
    assert "+ work: start in slot 0" in result.stdout


@pytest.mark.parametrize("verb", ["plan", "verify"])
def test_an_ordinary_user_is_77_and_told_what_to_do(desk: Desk, verb: str) -> None:
    desk.put("work.yaml")
    desk.fs = Denied(desk.world.machine)

    result = desk.run(verb)

    assert result.exit_code == 77
    assert result.stderr == (
        f"error: {KDAMONDS}/nr_kdamonds: no permission to read it\n"
        "hint:  DAMON's files are readable by root only: run it with sudo\n"
    )


@pytest.mark.parametrize("verb", ["plan", "features"])
@pytest.mark.parametrize("name", ["abc", "", "6", "v6.12"])
def test_no_release_is_wrong_use_and_told_what_is_known(desk: Desk, verb: str, name: str) -> None:
    result = desk.run(verb, "--kernel", name)

    assert result.exit_code == 64
    assert f"{name!r} is not a kernel release" in result.stderr
    assert "Linux 5.18 to 7.3" in result.stderr


def copied(tmp_path: Path, kernel: str) -> Path:
    """Sysfs as somebody would copy it from another machine."""
    sysfs = tmp_path / "copy"
    lay_out(CAPTURED / f"{kernel}.json", sysfs / "kernel/mm/damon/admin")
    return sysfs


@pytest.mark.parametrize(("kernel", "release"), [("6.12", "6.11"), ("7.1", "7.1")])
def test_a_copied_tree_tells_its_own_kernel_not_ours(
    desk: Desk, tmp_path: Path, kernel: str, release: str
) -> None:
    desk.fs = RealFilesystem()
    sysfs = copied(tmp_path, kernel)

    offered = desk.run("--sysfs-root", str(sysfs), "features", "--json")
    planned = desk.run("--sysfs-root", str(sysfs), "plan", str(desk.put("work.yaml")))

    told = json.loads(offered.stdout)
    assert (told["kernel"], told["source"]) == (release, "tree")
    assert {name for name, row in told["features"].items() if row["present"]} == {
        feature.value for feature in profile_of(kernel).present
    }
    assert planned.exit_code == 0
    assert f"Plan for the copied sysfs, Linux {release} (features: tree)" in planned.stdout


def test_a_poor_copy_asks_for_the_release_and_is_then_read_itself(
    desk: Desk, tmp_path: Path
) -> None:
    desk.fs = RealFilesystem()
    sysfs = copied(tmp_path, "7.1")
    shutil.rmtree(sysfs / "kernel/mm/damon/admin/kdamonds/0")
    (sysfs / "kernel/mm/damon/admin/kdamonds/nr_kdamonds").write_text("0\n")
    paths = ["--sysfs-root", str(sysfs), "plan", str(desk.put("work.yaml"))]

    refused = desk.run(*paths)
    named = desk.run(*paths, "--kernel", "7.1")

    assert refused.exit_code == 1
    assert "the files of this copy do not tell its kernel" in refused.stderr
    assert "--kernel" in refused.stderr
    assert named.exit_code == 0
    assert "Plan for the copied sysfs, Linux 7.1 (features: tree)" in named.stdout


@pytest.mark.parametrize("verb", ["plan", "verify"])
def test_no_damon_is_69(desk: Desk, verb: str) -> None:
    result = desk.run("--sysfs-root", "/nowhere", verb)

    assert result.exit_code == 69
    assert "has no DAMON sysfs" in result.stderr


def test_verify_finds_what_somebody_else_changed(desk: Desk) -> None:
    desk.put("work.yaml")
    desk.world.spawn("work")
    desk.reconcile()
    calm = desk.run("verify")
    quota = f"{KDAMONDS}/0/contexts/0/schemes/0/quotas/bytes"
    desk.world.damon.foreign_write(quota, "4096")
    drifted = desk.run("verify")
    document = json.loads(desk.run("verify", "--json").output)

    assert (calm.exit_code, drifted.exit_code) == (0, 1)
    assert calm.output == "ok           work\n"
    assert "quotas/bytes: found 4096, wanted 1048576" in drifted.output
    assert document["drift"][0]["differences"] == [
        {"path": "0/contexts/0/schemes/0/quotas/bytes", "found": "4096", "wanted": "1048576"}
    ]


def test_verify_can_overlook_what_the_kernel_lacks(desk: Desk) -> None:
    desk.world = World("6.12")
    desk.put("t.yaml", (POLICIES / "tiering-demote.yaml").read_text())

    strict, lenient = desk.run("verify"), desk.run("verify", "--ignore-missing")

    assert (strict.exit_code, lenient.exit_code) == (1, 0)
    assert strict.output.startswith("unsupported  tiering-demote: ")
    assert lenient.output.startswith("ignored      tiering-demote: ")


def test_verify_says_that_a_policy_does_not_run(desk: Desk) -> None:
    desk.put("work.yaml")
    desk.world.spawn("work")

    result = desk.run("verify")

    assert result.exit_code == 1
    assert "drift        work: not running (start)" in result.output


def test_a_kernel_newer_than_known_is_told(desk: Desk) -> None:
    desk.put("work.yaml")
    assert "is newer than any known here" in desk.run("plan", "--kernel", "99.1").stderr
    assert "newer" not in desk.run("plan", "--kernel", "7.3").stderr
    assert "newer" not in desk.run("plan", "--kernel", "7.3.9").stderr


def test_what_is_held_is_no_drift(desk: Desk) -> None:
    """Paused by the agent: the kernel holds `stat`, and that is as it should be."""
    desk.put("work.yaml")
    desk.world.spawn("work")
    (policy,) = desk.effective()
    desk.world.go(overlay(policy, Hold(all_why="paused")))
    desk.keep_ledger()
    strange = desk.run("verify")
    held = Held(BOOT_ID, paused=frozenset({"work"}))
    save_held(str(desk.run_root), held)
    calm = desk.run("verify")
    plan = json.loads(desk.run("plan", "-o", "json").output)

    assert strange.exit_code == 1
    assert calm.exit_code == 0
    assert "paused       work: paused: damosctl resume work goes on" in calm.output
    assert (plan["changes"], list(plan["held"])) == ([], ["work"])
    assert "# work: paused: paused: damosctl resume" in desk.run("plan").output
