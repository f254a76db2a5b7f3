# SPDX-License-Identifier: Apache-2.0
"""Builds the kernel `7.3-idle` into the lab's cache: `python -m tests.vm.build_idle`.

Debian's kernels come without idle page tracking. This one is made of Debian's own source, with
`idle.config` and nothing else, everything built in. Nothing is done if the cache has it already.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.vm.apt import Apt
from tests.vm.errors import KernelUnavailableError, LabError
from tests.vm.host import BUILD_REQUIREMENTS, DEPMOD, ensure_packages
from tests.vm.packages import IDLE, Kernel, cache_root, cached, lock

SUITES = ("trixie-backports", "sid")
CONFIG = Path(__file__).with_name("idle.config")

# Most of the source is of no use here, but all Kconfig files are read.
_LEFT_OUT = (
    *("*/arch/[!x]*/*.[chS]", "*/arch/xtensa/*.[chS]", "*/arch/[!x]*/boot/dts"),
    *(f"*/{part}/*.[ch]" for part in ("drivers/gpu", "drivers/media", "drivers/staging", "sound")),
    *("*/Documentation/*/*", "*/tools/testing/*"),
)
_LISTS = ("modules.order", "modules.builtin", "modules.builtin.modinfo")


def main() -> int:
    """Exit status 125 when it cannot be built."""
    try:
        print(build().release)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 125
    return 0


def build() -> Kernel:
    """The kernel, from the cache or else built now. Raises KernelUnavailableError.

    Safe to call from several processes at once: one builds, the others wait.
    """
    with lock(f"lock-{IDLE}"):
        return cached(IDLE) or _build()


def _build() -> Kernel:
    ensure_packages(BUILD_REQUIREMENTS)
    kernels = cache_root() / "kernels"
    kernels.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{IDLE}-", dir=kernels) as staging_name:
        staging = Path(staging_name)
        source = _fetch(staging)
        log = staging / "log"
        _timed("configuring", source, log, f"KCONFIG_ALLCONFIG={CONFIG}", "allnoconfig")
        if missing := unmet(CONFIG.read_text("utf-8"), (source / ".config").read_text("utf-8")):
            raise KernelUnavailableError(f"this source has no {', '.join(missing)}")
        _timed("building", source, log, f"-j{os.cpu_count() or 1}", "bzImage")
        _lay_out(source, staging / "kernel")
        (staging / "kernel").rename(kernels / IDLE)
    found = cached(IDLE)
    if found is None:
        raise KernelUnavailableError(f"{kernels / IDLE} vanished while it was being written")
    return found


def unmet(wanted: str, made: str) -> list[str]:
    """Settings of `wanted` that a configuration made from it has not: of other versions' names."""
    has = set(made.splitlines())
    return [line for line in wanted.splitlines() if line.startswith("CONFIG_") and line not in has]


def _fetch(staging: Path) -> Path:
    """The unpacked source."""
    print(f"fetching the source of {IDLE}", file=sys.stderr)
    apt = Apt(staging / "apt")
    apt.update(SUITES)
    package = f"linux-source-{IDLE.partition('-')[0]}"
    if package not in apt.package_names(package):
        raise KernelUnavailableError(f"no {package} in {', '.join(SUITES)}")
    apt.download_and_unpack([package], staging / "tree")
    archive = staging / "tree" / "usr" / "src" / f"{package}.tar.xz"
    left_out = (f"--exclude={pattern}" for pattern in _LEFT_OUT)
    unpack = ["tar", "-x", "-f", str(archive), "-C", str(staging), *left_out]
    subprocess.run(unpack, check=True)
    return staging / package


def _timed(what: str, source: Path, log: Path, *words: str) -> None:
    began = time.monotonic()
    print(what, end=" ", flush=True, file=sys.stderr)
    with log.open("w", encoding="utf-8") as output:
        argv = ["nice", "-n", "19", "make", "ARCH=x86_64", *words]
        done = subprocess.run(argv, check=False, cwd=source, stdout=output, stderr=output)
    print(f"took {time.monotonic() - began:.0f} s", file=sys.stderr)
    if done.returncode != 0:
        tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-40:])
        raise KernelUnavailableError(f"{' '.join(argv)} failed:\n{tail}")


def _lay_out(source: Path, home: Path) -> None:
    """As the cache has Debian's kernels; the list of modules tells modprobe what is built in."""
    release = (source / "include/config/kernel.release").read_text("utf-8").strip()
    modules = home / "lib" / "modules" / release
    modules.mkdir(parents=True)
    shutil.move(source / "arch/x86/boot/bzImage", home / "vmlinuz")
    for name in _LISTS:
        made = source / name
        if made.exists():
            shutil.move(made, modules / name)
        else:
            (modules / name).touch()
    subprocess.run([str(DEPMOD), "-b", str(home), release], check=True)
    (home / "release").write_text(f"{release}\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
