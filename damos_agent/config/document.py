"""Text into a tree of values that remember their place. Strict: see the DA00x and DA01x codes.

The tree is built from libyaml's events, without recursion, so neither deep nesting nor aliases can
hurt; tags, anchors, null and words that parsers disagree about are findings instead of values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import yaml

from damos_agent.config.codes import finding
from damos_agent.config.scalars import Doubt, TooManyDigits, resolve_plain
from damos_agent.model.finding import Finding

try:
    from yaml import CLoader as _Loader
except ImportError:  # PyYAML built without libyaml: slower, same events
    from yaml import Loader as _Loader  # type: ignore[assignment]

MAX_FILE_BYTES: Final = 256 * 1024
_MAX_DEPTH: Final = 32
_MAX_NODES: Final = 20_000
_MAX_FINDINGS: Final = 50
# Line breaks other than LF and CRLF are refused too: editors would count lines differently.
_UNPRINTABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)

Place = tuple[int, int]
Loc = tuple[str | int, ...]


@dataclass(slots=True)
class Node:
    """A value and where it starts, line and column from 1. `keys` holds the places of keys."""

    place: Place
    value: str | int | bool | list[Node] | dict[str, Node]
    keys: dict[str, Place] | None = None


class _Stop(Exception):  # noqa: N818 - control flow within this module
    """No sense in reading on."""


class _Builder:
    """Turns one document's events into a `Node` and findings."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.findings: list[Finding] = []
        self.root: Node | None = None
        self._stack: list[Node] = []
        self._key: str | None = None
        self._key_place: Place = (0, 0)
        self._count = 0

    def report(self, code: str, message: str, place: Place, hint: str = "") -> None:
        """Record a finding; too many of them end the reading."""
        self.findings.append(finding(code, message, self.path, place, hint))
        if len(self.findings) >= _MAX_FINDINGS:
            raise _Stop

    def feed(self, event: Any) -> None:
        """Take the next event of the document."""
        place = _place_of(event)
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, place)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event, place)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()
        elif isinstance(event, yaml.AliasEvent):
            self._count_node(place)
            self.report("DA008", f"alias *{event.anchor} is not accepted", place, "write it out")
            self._add(Node(place, ""))

    def _count_node(self, place: Place) -> None:
        self._count += 1
        if self._count > _MAX_NODES:
            self.report("DA010", f"more than {_MAX_NODES} values", place)
            raise _Stop

    def _check_marks(self, event: Any, place: Place) -> None:
        self._count_node(place)
        if event.anchor is not None:
            message = f"anchor &{event.anchor} is not accepted"
            self.report("DA008", message, place, "write the value out where it is used")
        if event.tag is not None:
            self.report("DA009", f"tag {event.tag} is not accepted", place, "remove the tag")

    def _open(self, event: Any, place: Place) -> None:
        self._check_marks(event, place)
        if len(self._stack) >= _MAX_DEPTH:
            self.report("DA010", f"nested more than {_MAX_DEPTH} levels deep", place)
            raise _Stop
        mapping = isinstance(event, yaml.MappingStartEvent)
        node = Node(place, {}, {}) if mapping else Node(place, [])
        if self._is_key():
            self.report("DA011", "a list or mapping cannot be a key", place)
            raise _Stop
        self._add(node)
        self._stack.append(node)

    def _is_key(self) -> bool:
        return bool(self._stack) and self._stack[-1].keys is not None and self._key is None

    def _scalar(self, event: Any, place: Place) -> None:
        self._check_marks(event, place)
        if self._is_key():
            self._take_key(event, place)
            return
        self._add(Node(place, self._value(event, place)))

    def _value(self, event: Any, place: Place) -> str | int | bool:
        text: str = event.value
        if event.style:  # quoted or block text
            return text
        try:
            value = resolve_plain(text)
        except TooManyDigits:
            self.report("DA027", f"{_short(text)} is larger than any 64-bit number", place)
            return 0
        if value is None:
            name = f"`{self._key}`" if self._key is not None else "this item"
            hint = "give a value, write {} for an empty mapping, or remove the line"
            self.report("DA013", f"{name} has no value", self._empty_place(place), hint)
            return ""
        if isinstance(value, Doubt):
            self.report("DA012", f"{_short(text)} is {value.might_be}", place, value.hint)
            return text
        return value

    def _empty_place(self, place: Place) -> Place:
        return self._key_place if self._key is not None else place

    def _take_key(self, event: Any, place: Place) -> None:
        text: str = event.value
        if not event.style and not _is_word(text):
            hint = f'write "{text}" in quotes if it is meant' if text else "write a key"
            self.report("DA011", f"{_short(text)} is not a word, so not a key", place, hint)
        node = self._stack[-1]
        if node.keys is not None and text in node.keys:
            line = node.keys[text][0]
            message = f"key `{text}` is given twice (first on line {line})"
            self.report("DA007", message, place, "remove one of the two")
        self._key, self._key_place = text, place

    def _add(self, node: Node) -> None:
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1]
        if isinstance(parent.value, list):
            parent.value.append(node)
        elif isinstance(parent.value, dict) and parent.keys is not None and self._key is not None:
            parent.value[self._key] = node
            parent.keys[self._key] = self._key_place
            self._key = None


def _place_of(event: Any) -> Place:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _is_word(text: str) -> bool:
    try:
        return isinstance(resolve_plain(text), str)
    except TooManyDigits:
        return False


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def decode_text(data: bytes, path: str) -> tuple[str | None, tuple[Finding, ...]]:
    """The text of a file's bytes, or a finding (DA002 too large, DA003 not text)."""
    if len(data) > MAX_FILE_BYTES:
        return None, (finding("DA002", f"{len(data)} bytes; at most 262144 are read", path),)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        message = f"byte 0x{data[error.start]:02x} is not valid UTF-8"
        return None, (finding("DA003", message, path, _place_after(before)),)
    if match := _UNPRINTABLE.search(text):
        message = f"character U+{ord(match[0]):04X} is not accepted"
        return None, (finding("DA003", message, path, _place_after(text[: match.start()])),)
    return text, ()


def _place_after(text: str) -> Place:
    return text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1


def parse_document(text: str, path: str) -> tuple[Node | None, tuple[Finding, ...]]:
    """The one YAML document in `text`; with any finding the node must not be used."""
    builder = _Builder(path)
    loader = _Loader(text)
    documents = 0
    try:
        while not isinstance(event := loader.get_event(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    builder.report("DA006", "a second document starts here", _place_of(event))
                    break
            builder.feed(event)
    except _Stop:
        pass
    except yaml.YAMLError as error:
        builder.findings.append(_syntax_finding(error, path))
    finally:
        loader.dispose()
    if builder.root is None and not builder.findings:
        return None, (finding("DA005", "no document in this file", path),)
    if _is_only_null(builder):
        return None, (finding("DA005", "no document in this file", path, (1, 1)),)
    return builder.root, tuple(builder.findings)


def _is_only_null(builder: _Builder) -> bool:
    root = builder.root
    if root is None or isinstance(root.value, (dict, list)):
        return False
    return [found.code for found in builder.findings] == ["DA013"]


def _syntax_finding(error: yaml.YAMLError, path: str) -> Finding:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    problem = getattr(error, "problem", None) or "not readable as YAML"
    hint = "use spaces, not tabs" if "'\\t'" in str(problem) else ""
    return finding("DA004", f"YAML syntax: {problem}", path, place, hint)


def plain(node: Node) -> Any:
    """The tree as plain dicts, lists and scalars. Depth is bounded by `parse_document`."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def locate(root: Node, loc: Loc, *, key: bool = False) -> Place:
    """The place of the value at `loc`, or of its key; parts that are not there are skipped.

    So a missing key is reported at the mapping that lacks it: at that mapping's own key.
    """
    node, place = root, root.place
    for position, part in enumerate(loc):
        last = position == len(loc) - 1
        if isinstance(part, int) and isinstance(node.value, list) and part < len(node.value):
            node = node.value[part]
            place = node.place
        elif isinstance(node.value, dict) and part in node.value and node.keys is not None:
            name = str(part)
            as_key = (last and key) or isinstance(node.value[name].value, (dict, list))
            place = node.keys[name] if as_key else node.value[name].place
            node = node.value[name]
    return place


def find(root: Node, loc: Loc) -> Node | None:
    """The value at `loc`, if it is there."""
    node = root
    for part in loc:
        inner: Node | None = None
        if isinstance(part, int) and isinstance(node.value, list) and part < len(node.value):
            inner = node.value[part]
        elif isinstance(part, str) and isinstance(node.value, dict):
            inner = node.value.get(part)
        if inner is None:
            return None
        node = inner
    return node
