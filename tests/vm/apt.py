# SPDX-License-Identifier: Apache-2.0
"""A private apt: the machine's mirrors and keys, its own lists, nothing installed."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm.apt_sources import derive, format_deb822, read_sources
from tests.vm.errors import KernelUnavailableError

# The machine's hooks after an update serve its desktop and its package cache; ours is private.
_CONFIG = """\
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{home}/sources.list.d";
Dir::State::Lists "{home}/lists";
Dir::Cache "{home}/cache";
Dir::Cache::archives "{home}/cache/archives";
Acquire::Languages "none";
APT::Sandbox::User "{user}";
"""


@dataclass(frozen=True, slots=True)
class Apt:
    """apt-get and apt-cache working below `home` alone."""

    home: Path

    def update(self, suites: Sequence[str]) -> None:
        """Fetch the package lists of the suites, their signatures checked as usual.

        A mirror that lacks a suite is passed over: what counts is whether the package is
        found afterwards. Raises KernelUnavailableError when no list at all could be had.
        """
        done = self._update_with(suites, keyring=None)
        if "NO_PUBKEY" in done.stderr:
            done = self._update_with(suites, keyring=self._newer_keyring())
        if not any((self.home / "lists").glob("*_Packages*")):
            raise KernelUnavailableError(f"apt-get update failed:\n{done.stdout}{done.stderr}")

    def package_names(self, prefix: str) -> list[str]:
        """The names of all packages in the lists that begin with `prefix`."""
        return self._run("apt-cache", "pkgnames", prefix).stdout.split()

    def download_and_unpack(self, names: Sequence[str], tree: Path) -> None:
        """Fetch the packages, checked against the signed lists, and unpack them into `tree`."""
        archives = self.home / "debs"
        archives.mkdir()
        self._run("apt-get", "-q", "download", *names, cwd=archives)
        for package in sorted(archives.glob("*.deb")):
            subprocess.run(["dpkg", "-x", str(package), str(tree)], check=True)

    def _update_with(
        self, suites: Sequence[str], keyring: Path | None
    ) -> subprocess.CompletedProcess[str]:
        for part in ("sources.list.d", "lists/partial", "cache/archives/partial"):
            (self.home / part).mkdir(parents=True, exist_ok=True)
        sources = derive(read_sources(), suites)
        if not sources:
            raise KernelUnavailableError("apt on this machine has no Debian archive configured")
        listed = self.home / "sources.list.d" / "lab.sources"
        listed.write_text(format_deb822(sources, keyring=keyring), encoding="utf-8")
        user = "root" if os.geteuid() == 0 else ""
        config = _CONFIG.format(home=self.home, user=user)
        (self.home / "apt.conf").write_text(config, encoding="utf-8")
        return self._run("apt-get", "-q", "update", check=False)

    def _newer_keyring(self) -> Path:
        """The keys of the machine's own release's newest debian-archive-keyring.

        A machine that was installed before the next release existed lacks that release's
        keys; its own suite, whose signature it can check, carries them in an update.
        """
        own = Apt(self.home / "keyring")
        suites = sorted({suite for source in read_sources() for suite in source.suites})
        own._update_with(suites, keyring=None)
        own.download_and_unpack(["debian-archive-keyring"], own.home / "tree")
        keyrings = own.home / "tree" / "usr" / "share" / "keyrings"
        return next(keyrings.glob("debian-archive-keyring.*"))

    def _run(
        self, program: str, *arguments: str, check: bool = True, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        argv = [program, "-c", str(self.home / "apt.conf"), *arguments]
        done = subprocess.run(
            argv, check=False, capture_output=True, text=True, cwd=cwd, env=_c_locale()
        )
        if check and done.returncode != 0:
            raise KernelUnavailableError(f"{' '.join(argv)} failed:\n{done.stdout}{done.stderr}")
        return done


def _c_locale() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}
