"""A machine made of literal text: files, links and errors by absolute path."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path

from damos_agent.host.filesystem import RealFilesystem

PF_KTHREAD = 0x00200000


class FakeFilesystem:
    """Directories exist where paths say so. A value that is an errno is raised on reading."""

    def __init__(self, files: dict[str, str | int] | None = None) -> None:
        self.files: dict[str, str | int] = dict(files or {})
        self.links: dict[str, str | int] = {}
        self.reads: Counter[str] = Counter()

    def read(self, path: str) -> str:
        self.reads[path] += 1
        return self._value(self.files, path)

    def write(self, path: str, text: str) -> None:
        raise PermissionError(errno.EROFS, "the machine is only read", path)

    def listdir(self, path: str) -> list[str]:
        self.reads[path] += 1
        if path in self.files:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", path)
        prefix = path.rstrip("/") + "/"
        names = {
            name.removeprefix(prefix).split("/")[0]
            for name in (*self.files, *self.links)
            if name.startswith(prefix)
        }
        if not names:
            raise FileNotFoundError(errno.ENOENT, "no such directory", path)
        return sorted(names, reverse=True)

    def exists(self, path: str) -> bool:
        names = (*self.files, *self.links)
        return any(name == path or name.startswith(path + "/") for name in names)

    def readlink(self, path: str) -> str:
        self.reads[path] += 1
        return self._value(self.links, path)

    def remove(self, path: str) -> None:
        """Take away the file or everything below the directory `path`."""
        for table in (self.files, self.links):
            for name in [n for n in table if n == path or n.startswith(path + "/")]:
                del table[name]

    @staticmethod
    def _value(table: dict[str, str | int], path: str) -> str:
        value = table.get(path, errno.ENOENT)
        if isinstance(value, int):
            raise OSError(value, os.strerror(value), path)
        return value


class FailingFilesystem(RealFilesystem):
    """The real machine, except for paths with a fixed errno."""

    def __init__(self, failing: dict[str, int]) -> None:
        self.failing = failing

    def read(self, path: str) -> str:
        if path in self.failing:
            raise OSError(self.failing[path], os.strerror(self.failing[path]), path)
        return super().read(path)


def stat_line(
    pid: int,
    comm: str = "work",
    *,
    state: str = "S",
    start: int = 100,
    flags: int = 0x400000,
    image: int = 0x5555_0000_0000,
) -> str:
    """A line of /proc/PID/stat in the layout of proc_pid_stat(5)."""
    head = f"{pid} ({comm}) {state} 1 {pid} {pid} 0 -1 {flags} 0 0 0 0 7 3 0 0 20 0 1 0 {start}"
    middle = f" 9000000 800 18446744073709551615 {image} {image + 9} {image + 99} 0 0 0 0 0 0 0 0 0"
    return (
        head
        + middle
        + f" 17 1 0 0 0 0 0 {image + 1} {image + 2} {image + 3} {image + 50} "
        + (f"{image + 60} {image + 60} {image + 70} 0\n")
    )


def add_process(
    fs: FakeFilesystem,
    pid: int,
    comm: str = "work",
    *,
    exe: str | int = "/usr/bin/work",
    cmdline: str = "work\0",
    uid: int = 1000,
    start: int = 100,
    state: str = "S",
    image: int = 0x5555_0000_0000,
    kernel_thread: bool = False,
) -> None:
    """Put a process into a fake /proc, or another one in its place."""
    base = f"/proc/{pid}"
    flags = PF_KTHREAD if kernel_thread else 0x400000
    fs.files[f"{base}/stat"] = stat_line(
        pid, comm, state=state, start=start, flags=flags, image=image
    )
    fs.files[f"{base}/cmdline"] = cmdline
    fs.files[f"{base}/status"] = f"Name:\t{comm}\nUid:\t0\t{uid}\t{uid}\t{uid}\nVmRSS:\t 12 kB\n"
    fs.files[f"{base}/cgroup"] = "4:memory:/old\n0::/app.slice\n"
    fs.links[f"{base}/exe"] = errno.ENOENT if kernel_thread else exe


def plant(root: Path, files: dict[str, str]) -> None:
    """Write a fixture tree of relative paths below `root`."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
