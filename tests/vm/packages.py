# SPDX-License-Identifier: Apache-2.0
"""Debian's kernels, fetched through the machine's own apt configuration and kept in a cache."""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.vm.apt import Apt
from tests.vm.errors import KernelUnavailableError

# Which suites carry a kernel of the series. Several are searched together, because
# trixie-backports keeps only some of a series' packages once the next one is out.
SUITES: dict[str, tuple[str, ...]] = {
    "6.1": ("bookworm", "bookworm-security"),
    "6.12": ("trixie", "trixie-security"),
    "6.16": ("trixie-backports",),
    "6.17": ("trixie-backports",),
    "6.18": ("trixie-backports",),
    "6.19": ("trixie-backports",),
    "7.0": ("trixie-backports",),
    "7.1": ("trixie-backports",),
    "7.2": ("trixie-backports", "sid"),
    "7.3": ("trixie-backports", "sid"),
}

IDLE = "7.3-idle"
BUILT = {IDLE: "python -m tests.vm.build_idle"}
"""Series that no archive has, and the command that builds them."""

_PACKAGE = re.compile(r"linux-(?P<part>image|base|binary|modules)-(?P<release>\d[^ ]*-cloud-amd64)")


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel. `modules` is None where the archive has lost the modules package."""

    series: str
    release: str
    image: Path
    modules: Path | None


@dataclass(frozen=True, slots=True)
class PackageSet:
    """The packages that together hold one kernel release."""

    release: str
    names: tuple[str, ...]
    has_modules: bool


def cache_root() -> Path:
    """Where downloads are kept: `$XDG_CACHE_HOME/damos-agent-lab`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "damos-agent-lab"


def cached(series: str) -> Kernel | None:
    """The kernel of that series if it is in the cache."""
    home = cache_root() / "kernels" / series
    try:
        release = (home / "release").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    modules = home / "lib" / "modules" / release
    return Kernel(series, release, home / "vmlinuz", modules if modules.is_dir() else None)


def fetch(series: str) -> Kernel:
    """The newest kernel of that series, from the cache or else from the machine's mirrors.

    Safe to call from several processes at once. Raises KernelUnavailableError.
    """
    if series in BUILT:
        return _built(series)
    if series not in SUITES:
        known = ", ".join((*SUITES, *BUILT))
        raise KernelUnavailableError(f"no kernel series {series!r}; known are {known}")
    with lock("lock"):
        return cached(series) or _download(series)


def _built(series: str) -> Kernel:
    kernel = cached(series)
    if kernel is None:
        raise KernelUnavailableError(f"kernel {series} is not built yet: {BUILT[series]}")
    return kernel


def choose(series: str, names: Iterable[str]) -> PackageSet | None:
    """The newest release of the series among package names; those with modules come first.

    Up to 6.18 one image package holds everything. Later releases split it in an (almost
    empty) image, the binary, the modules and the base (the lists of what is built in).
    """
    parts: dict[str, dict[str, str]] = {}
    for name in names:
        match = _PACKAGE.fullmatch(name)
        if match and match["release"].startswith(f"{series}."):
            parts.setdefault(match["release"], {})[match["part"]] = name
    sets = [_package_set(release, of_release) for release, of_release in parts.items()]
    return max(sets, key=lambda one: (one.has_modules, _version_key(one.release)), default=None)


def _package_set(release: str, parts: dict[str, str]) -> PackageSet:
    if "binary" not in parts:
        return PackageSet(release, (parts.get("image", ""),), has_modules="image" in parts)
    names = tuple(parts[part] for part in ("base", "binary", "modules") if part in parts)
    return PackageSet(release, names, has_modules="modules" in parts)


def _version_key(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release))


def _download(series: str) -> Kernel:
    kernels = cache_root() / "kernels"
    kernels.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{series}-", dir=kernels) as staging_name:
        staging = Path(staging_name)
        apt = Apt(staging / "apt")
        apt.update(SUITES[series])
        packages = choose(series, apt.package_names("linux-"))
        if packages is None:
            raise KernelUnavailableError(
                f"no cloud kernel {series} in {', '.join(SUITES[series])} of this machine's mirrors"
            )
        tree = staging / "tree"
        apt.download_and_unpack(packages.names, tree)
        home = staging / "kernel"
        _lay_out(tree, packages.release, home)
        home.rename(kernels / series)
    found = cached(series)
    if found is None:
        raise KernelUnavailableError(f"{kernels / series} vanished while it was being written")
    return found


def _lay_out(tree: Path, release: str, home: Path) -> None:
    """Make `home` hold vmlinuz, lib/modules/RELEASE with its dependency lists, and release."""
    home.mkdir()
    unpacked = tree / "usr" / "lib" / "modules" / release
    if not unpacked.is_dir():
        unpacked = tree / "lib" / "modules" / release
    images = [*tree.glob("boot/vmlinuz-*"), unpacked / "vmlinuz"]
    shutil.move(next(image for image in images if image.is_file()), home / "vmlinuz")
    if (unpacked / "kernel").is_dir():
        (home / "lib" / "modules").mkdir(parents=True)
        shutil.move(unpacked, home / "lib" / "modules" / release)
        subprocess.run(["/sbin/depmod", "-b", str(home), release], check=True)
    (home / "release").write_text(f"{release}\n", encoding="utf-8")


@contextmanager
def lock(name: str) -> Iterator[None]:
    """One process at a time is in a block of that name."""
    path = cache_root() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
