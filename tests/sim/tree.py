"""Directories with values: staging, nothing more. Locks and commands live above."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from tests.sim import parse
from tests.sim.errors import refuse
from tests.sim.shapes import FileShape, Kind, Shape


def _stored(shape: FileShape, text: str) -> str:
    if shape.kind is Kind.WORD:
        return parse.keyword(text, shape.words)
    if shape.kind is Kind.BOOL:
        return "Y" if parse.boolean(text, (shape.words[0], shape.words[1])) else "N"
    if shape.kind is Kind.PATH:
        return text
    if shape.kind in (Kind.INT, Kind.COUNT):
        return str(parse.signed(text))
    return str(parse.unsigned(text, parse.UINT_MAX if shape.kind is Kind.UINT else parse.ULONG_MAX))


def parsed(shape: FileShape, text: str) -> str:
    """What `shape` stores for `text`; raises as its store function does."""
    try:
        value = _stored(shape, text)
    except OSError:
        if shape.plain_einval:
            raise refuse(errno.EINVAL) from None
        raise
    if shape.kind is Kind.COUNT or shape.least:
        number = int(value)
        if number < shape.least or (shape.limit is not None and number > shape.limit):
            raise refuse(errno.EINVAL)
    return value


class Dir:
    """One directory: `values` of its files (without the printed newline) and `dirs`."""

    __slots__ = ("dirs", "shape", "values")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.values = {name: item.default for name, item in shape.files.items()}
        self.dirs: dict[str, Dir] = {name: Dir(item) for name, item in shape.dirs.items()}

    def store(self, name: str, text: str) -> None:
        """Parse and keep `text`; a count wipes the numbered directories and makes new ones."""
        shape = self.shape.files[name]
        self.values[name] = value = parsed(shape, text)
        if shape.kind is Kind.COUNT and shape.children is not None:
            self.resize(int(value), shape.children)

    def resize(self, count: int, children: Shape) -> None:
        """Replace all numbered directories by `count` fresh ones."""
        for name in [name for name in self.dirs if name.isdigit()]:
            del self.dirs[name]
        for index in range(count):
            self.dirs[str(index)] = Dir(children)

    def numbered(self) -> list[Dir]:
        """The numbered directories in their order."""
        names = sorted((name for name in self.dirs if name.isdigit()), key=int)
        return [self.dirs[name] for name in names]

    def at(self, path: str) -> Dir:
        """The directory `path` below this one; KeyError if there is none."""
        here = self
        for part in filter(None, path.split("/")):
            here = here.dirs[part]
        return here

    def has(self, path: str) -> bool:
        """Whether the directory `path` is below this one."""
        try:
            self.at(path)
        except KeyError:
            return False
        return True

    def text(self, path: str, default: str = "") -> str:
        """The value of file `path`, or `default` where this release lacks it."""
        directory, _, name = path.rpartition("/")
        try:
            return self.at(directory).values.get(name, default)
        except KeyError:
            return default

    def number(self, path: str, default: int = 0) -> int:
        """The integer value of file `path`."""
        return int(self.text(path, str(default)))

    def flag(self, path: str) -> bool:
        """The boolean value of file `path`."""
        return self.text(path, "N") == "Y"

    def flat(self, prefix: str = "") -> Iterator[tuple[str, str]]:
        """Every file below as (relative path, shown text), and (path + "/", "") for directories."""
        for name, value in self.values.items():
            yield prefix + name, value + "\n"
        for name, directory in self.dirs.items():
            yield f"{prefix}{name}/", ""
            yield from directory.flat(f"{prefix}{name}/")
