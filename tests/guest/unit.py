"""The wheel's systemd unit under a real process 1: `python -m tests.guest.unit WHEEL_DIRECTORY`.

Installs the wheel the way docs/systemd.md tells, takes the service through its life and prints
what was seen, as one JSON object. Run by test_unit.py.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, files, metadata, requires
from pathlib import Path
from typing import Any

from tests.guest.examples import example
from tests.guest.rig import ADMIN, PROJECT, Workload, start_workload, wait_for
from tests.vm.guestlib import require_guest, zram_swap

ENVIRONMENT = Path("/usr/lib/damos-agent")
CONFIG = Path("/etc/damos-agent")
DROP_INS = Path("/etc/systemd/system/damos-agent.service.d")
AGENT = "damos-agent"
NAME = "proactive-reclaim"


def run(*command: str) -> str:
    """The command's output; an error when it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


def show(name: str) -> str:
    """One property of the service."""
    return run("systemctl", "show", "--value", "-p", name, AGENT).strip()


def install(wheels: Path) -> None:
    """A virtual environment of the system's Python; what the agent imports comes from ours."""
    run("/usr/bin/python3", "-m", "venv", "--without-pip", str(ENVIRONMENT))
    wheel = next(wheels.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "--python", str(ENVIRONMENT / "bin/python")]
    run(*pip, "install", "--no-index", "--no-deps", "--quiet", str(wheel))
    site = next(ENVIRONMENT.glob("lib/python*/site-packages"))
    for distribution in requirements("damos-agent"):
        copy_files(distribution, site)
    for program in ("damos-agent", "damosctl"):
        Path("/usr/local/bin", program).symlink_to(ENVIRONMENT / "bin" / program)
    run("systemctl", "link", str(ENVIRONMENT / "lib/systemd/system/damos-agent.service"))


def requirements(name: str) -> set[str]:
    """What that distribution needs to run, and what that needs."""
    found: set[str] = set()
    left = [name]
    while left:
        for line in requires(left.pop()) or ():
            needed = re.split(r"[^\w.-]", line, maxsplit=1)[0]
            if "extra ==" not in line and needed not in found and _is_installed(needed):
                found.add(needed)
                left.append(needed)
    return found


def _is_installed(name: str) -> bool:
    try:
        metadata(name)
    except PackageNotFoundError:
        return False  # for another platform or Python
    return True


def copy_files(distribution: str, site: Path) -> None:
    """Its modules. No links into our own environment: that may lie where the unit cannot look."""
    for file in files(distribution) or ():
        source = Path(file.locate())
        if file.suffix != ".pyc" and ".." not in file.parts and source.is_file():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, site / file)


def configure() -> None:
    """One policy on processes of another user, by executable, and one on physical memory."""
    (CONFIG / "policies.d").mkdir(parents=True)
    agent = "apiVersion: damos-agent/v1\nkind: Agent\nspec: {damon_stat: suspend, boot_grace: 0s}\n"
    (CONFIG / "agent.yaml").write_text(agent)
    write_policy("32MiB")
    cache = example("physical-reclaim-file-cache", {"mode": "enforce"})
    (CONFIG / "policies.d/cache.yaml").write_text(cache)


def write_policy(size: str) -> None:
    edits = {
        "mode": "enforce",
        "target.process": {"exe": Path(sys.executable).resolve().name, "user": "nobody"},
        "schemes.0.quota.size": size,
    }
    (CONFIG / "policies.d/reclaim.yaml").write_text(example(NAME, edits))


def states() -> dict[str, Any]:
    """Every policy's state, as damosctl tells."""
    done = subprocess.run(
        ["damosctl", "status", "--json"], check=False, capture_output=True, text=True
    )
    if not done.stdout.startswith("{"):
        return {}
    policies = json.loads(done.stdout)["policies"]
    return {policy["name"]: (policy["state"], policy["reason"]) for policy in policies}


def kdamonds() -> list[str]:
    """Their pids, asked again while DAMON is busy."""

    def read() -> list[str] | None:
        try:
            pids = [path.read_text().strip() for path in sorted(ADMIN.glob("*/pid"))]
        except OSError:
            return None
        return ["", *(pid for pid in pids if pid != "-1")]

    return list(wait_for("DAMON to answer", read)[1:])


def both_active() -> bool:
    return [state for state, _ in states().values()] == ["active", "active"]


def quota() -> str:
    return " ".join(
        p.read_text().strip() for p in ADMIN.glob("*/contexts/0/schemes/0/quotas/bytes")
    )


def signal_and_restart(name: str) -> dict[str, Any]:
    """Kill or hang the agent; systemd must start another, which finds the same kdamonds."""
    before, main, restarts = kdamonds(), show("MainPID"), int(show("NRestarts"))
    run("systemctl", "kill", f"--signal={name}", "--kill-whom=main", AGENT)
    wait_for(f"a restart after {name}", lambda: int(show("NRestarts")) > restarts)
    wait_for("the new agent", lambda: show("ActiveState") == "active" and both_active())
    return {"same_kdamonds": kdamonds() == before, "same_main": show("MainPID") == main}


def in_user_space(work: Workload) -> dict[str, Any]:
    """The same policy without DAMON: without the drop-in it says what is missing, with it acts."""
    shipped = ENVIRONMENT / "lib/systemd/system/damos-agent.service.d"
    drop_in = next(shipped.glob("*userspace-monitor*"))
    edits = {
        "mode": "enforce",
        "backend": "userspace",
        "target.process": {"exe": Path(sys.executable).resolve().name, "user": "nobody"},
        "schemes.0.pattern.age.min": "3s",
        # An emulated processor is slow.
        "monitoring.userspace": {"cpu": "20%"},
        "schemes.0.quota.time": None,
    }
    (CONFIG / "policies.d/reclaim.yaml").write_text(example(NAME, edits))
    run("systemctl", "restart", AGENT)
    without = wait_for("the missing privilege", lambda: _settled({"unsupported"}))
    shutil.copy(drop_in, DROP_INS / drop_in.name.removesuffix(".example"))
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", AGENT)
    with_drop_in = wait_for("the policy in user space", lambda: _settled({"active"}))
    with zram_swap(256):
        wait_for("cold memory to go", lambda: work.swap_mib() > 4)
        run("systemctl", "stop", AGENT)
        return {"without": without, "with": with_drop_in, "swap_mib": work.swap_mib()}


def _settled(wanted: set[str]) -> list[str] | None:
    state, reason = states().get(NAME, ("", ""))
    return [state, reason] if state in wanted else None


def life(work: Workload) -> dict[str, Any]:
    """From enable to disable, and what was seen on the way."""
    seen: dict[str, Any] = {}
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "--now", AGENT)
    wait_for("both policies", both_active)
    main = show("MainPID")
    seen["started"] = {
        "states": states(),
        "status_text": show("StatusText"),
        "kdamonds": len(kdamonds()),
        "status": run("systemctl", "status", "--no-pager", "--full", AGENT),
        "capabilities": _capabilities(main),
        "from": Path(f"/proc/{main}/cmdline").read_text().split("\0")[:2],
    }
    before = kdamonds()
    write_policy("8MiB")
    run("systemctl", "reload", AGENT)
    wait_for("the edit", lambda: str(8 << 20) in quota())
    seen["reload"] = {
        "same_main": show("MainPID") == main,
        "same_kdamonds": kdamonds() == before,
        "result": show("Result"),
    }
    seen["killed"] = signal_and_restart("SIGKILL")
    DROP_INS.mkdir(exist_ok=True)
    (DROP_INS / "test.conf").write_text("[Service]\nWatchdogSec=20\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", AGENT)
    wait_for("both policies again", both_active)
    wait_for("more than one watchdog period", _older_than_two_periods)
    seen["fed"] = show("ActiveState")
    seen["hung"] = signal_and_restart("SIGSTOP")
    run("systemctl", "stop", AGENT)
    seen["stopped"] = {
        "kdamonds": (ADMIN / "nr_kdamonds").read_text().strip(),
        "result": show("Result"),
        "record_kept": Path("/run/damos-agent").is_dir(),
    }
    try:
        seen["userspace"] = in_user_space(work)
    except AssertionError as error:
        seen["userspace"] = {"error": str(error)}  # what was seen before is true all the same
    return seen


def _older_than_two_periods() -> bool:
    started = int(show("ActiveEnterTimestampMonotonic")) / 1e6
    return float(Path("/proc/uptime").read_text().split()[0]) > started + 45


def _capabilities(pid: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("CapBnd"))


def main() -> None:
    require_guest()
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    install(Path(sys.argv[1]))
    configure()
    work: Workload = start_workload(2, 8, "--uid", "65534")
    try:
        seen = life(work)
    except AssertionError:
        log = ["journalctl", "--no-pager", "-n", "60", "-u", AGENT]
        sys.stderr.write(subprocess.run(log, capture_output=True, text=True, check=False).stdout)
        sys.stderr.write(f"{states()} {PROJECT}\n")
        raise
    finally:
        work.end()
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
