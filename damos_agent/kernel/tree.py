"""Specs to sysfs trees and sysfs trees from the machine, both by the table in `fields`.

Paths are interned: they are the same in every slot, and there may be a hundred.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from sys import intern

from damos_agent.host.filesystem import Filesystem
from damos_agent.kernel.fields import KDAMOND, Children, Directory, Field, Kind
from damos_agent.model.damon import ContextSpec, Tree
from damos_agent.model.feature import Feature, Features, missing_feature


@dataclass(frozen=True, slots=True)
class _Kdamond:
    """The root of what is rendered: the kernel allows one context per kdamond."""

    contexts: tuple[ContextSpec, ...]


def render(context: ContextSpec, features: Features) -> Tree:
    """The staged tree that makes `context` real on a kernel with `features`.

    A file that the kernel lacks is left out when the context does not need it; otherwise
    `UnsupportedError` names the file and the feature.
    """
    return dict(_render(KDAMOND, _Kdamond((context,)), "", features))


def _render(
    directory: Directory, spec: object, prefix: str, features: Features
) -> Iterator[tuple[str, str]]:
    for row in directory.rows:
        value = getattr(spec, row.attr)
        missing = row.since is not None and row.since not in features
        if isinstance(row, Children):
            if missing:
                _require(not value, row.since, f"{prefix}{row.path}", features)
                continue
            yield intern(f"{prefix}{row.path}/{row.nr}"), str(len(value))
            for index, item in enumerate(value):
                yield from _render(row.item, item, f"{prefix}{row.path}/{index}/", features)
        else:
            text = spell(value, row.kind)
            if missing:
                _require(text == row.default, row.since, prefix + row.path, features)
                continue
            yield intern(prefix + row.path), text


def _require(unneeded: bool, feature: Feature | None, path: str, features: Features) -> None:
    if not unneeded and feature is not None:
        raise missing_feature(feature, features, f"file {path}")


def spell(value: object, kind: Kind) -> str:
    """`value` as its file prints it."""
    return ("Y" if value else "N") if kind is Kind.BOOL else str(value)


def read_tree(fs: Filesystem, directory: str) -> Tree:
    """The staged tree of the kdamond at `directory`. Files this kernel lacks are left out."""
    return dict(_read(fs, KDAMOND, f"{directory}/", ""))


def _read(
    fs: Filesystem, directory: Directory, base: str, prefix: str
) -> Iterator[tuple[str, str]]:
    for row in directory.rows:
        name = row.path if isinstance(row, Field) else f"{row.path}/{row.nr}"
        text = read_text(fs, base + prefix + name)
        if text is None:
            continue
        yield intern(prefix + name), intern(text)
        if isinstance(row, Children):
            for index in range(int(text)):
                yield from _read(fs, row.item, base, f"{prefix}{row.path}/{index}/")


def read_text(fs: Filesystem, path: str) -> str | None:
    """A file's text without trailing newlines (path files end in two); None if it is not there."""
    try:
        return fs.read(path).rstrip("\n")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
