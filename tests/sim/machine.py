"""A whole simulated host: plain files around a simulated DAMON."""

from __future__ import annotations

import errno

from tests.sim.damon import SimulatedDamon
from tests.sim.errors import refuse


class SimulatedMachine:
    """`Filesystem` that hands DAMON's paths to `damon` and keeps the rest as text in `files`.

    Directories exist where a file or link lies below them. Writing needs an existing file.
    """

    def __init__(
        self,
        damon: SimulatedDamon,
        files: dict[str, str] | None = None,
        links: dict[str, str] | None = None,
    ) -> None:
        self.damon = damon
        self.files = dict(files or {})
        self.links = dict(links or {})

    def read(self, path: str) -> str:
        """The text of a file."""
        if self.damon.owns(path):
            return self.damon.read(path)
        if path not in self.files:
            raise refuse(errno.EISDIR if self.exists(path) else errno.ENOENT, path)
        return self.files[path]

    def write(self, path: str, text: str) -> None:
        """Replace the text of an existing file."""
        if self.damon.owns(path):
            self.damon.write(path, text)
            return
        if path not in self.files:
            raise refuse(errno.EISDIR if self.exists(path) else errno.ENOENT, path)
        self.files[path] = text

    def _below(self, path: str) -> set[str]:
        prefix = path.rstrip("/") + "/"
        known = [*self.files, *self.links, self.damon.root, *self._modules()]
        return {item[len(prefix) :].split("/")[0] for item in known if item.startswith(prefix)}

    def _modules(self) -> list[str]:
        base = self.damon.root.removesuffix("/kernel/mm/damon/admin")
        return [f"{base}/module/{name}" for name in self.damon.modules.dir.dirs]

    def listdir(self, path: str) -> list[str]:
        """Names directly below `path`."""
        if self.damon.owns(path):
            return self.damon.listdir(path)
        names = self._below(path)
        if not names:
            raise refuse(errno.ENOTDIR if path in self.files else errno.ENOENT, path)
        return sorted(names)

    def exists(self, path: str) -> bool:
        """Whether a file, link or directory is there."""
        if self.damon.owns(path):
            return self.damon.exists(path)
        return path in self.files or path in self.links or bool(self._below(path))

    def readlink(self, path: str) -> str:
        """The target of a link."""
        if path in self.links:
            return self.links[path]
        raise refuse(errno.EINVAL if self.exists(path) else errno.ENOENT, path)
