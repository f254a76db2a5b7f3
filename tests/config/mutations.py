"""Single edits that tired people make, applied to a policy's text. Deterministic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """`kind` is the class of the edit; `where` says what was edited, for the test's output."""

    kind: str
    where: str
    text: str


_KEY = re.compile(r"(?<=[\s{,-])([a-z_]{3,})(?=:(?:\s|$))", re.MULTILINE)
_QUANTITY = re.compile(r"(?<![\w.'])([0-9]+(?:\.[0-9]+)?)(ms|us|KiB|MiB|GiB|s|m|h|%)(?![\w/])")
_WORD = re.compile(r"(?<=: )([a-z_]{4,})(?=\s*$|[,}])", re.MULTILINE)
_PAIR = re.compile(r"\{min: ([^,}]+), max: ([^,}]+)\}")
_FREE = {"exe", "user", "cmdline", "path", "systemd_unit", "purpose", "owner", "name"}


def mutations(text: str) -> Iterator[Mutation]:
    """Every mutation of `text`; comments are left alone."""
    yield from _misspelt_keys(text)
    yield from _misspelt_words(text)
    yield from _units(text)
    yield from _swapped_bounds(text)
    yield from _lines(text)


def _code(text: str, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
    for match in pattern.finditer(text):
        line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        if "#" not in line:
            yield match


def _replace(text: str, match: re.Match[str], new: str, group: int = 1) -> str:
    return text[: match.start(group)] + new + text[match.end(group) :]


def _typos(word: str) -> dict[str, str]:
    middle = len(word) // 2
    return {
        "swap": word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :],
        "drop": word[:middle] + word[middle + 1 :],
        "double": word[:middle] + word[middle] + word[middle:],
        "capital": word.capitalize(),
    }


def _misspelt_keys(text: str) -> Iterator[Mutation]:
    for match in _code(text, _KEY):
        for typo, wrong in _typos(match[1]).items():
            if wrong != match[1]:
                yield Mutation("misspelt key", f"{match[1]} {typo}", _replace(text, match, wrong))


def _misspelt_words(text: str) -> Iterator[Mutation]:
    for match in _code(text, _WORD):
        before = re.search(r"([a-z_]+): $", text[: match.start()])
        if before is None or before[1] in _FREE:
            continue
        for typo, wrong in _typos(match[1]).items():
            if wrong != match[1] and not (wrong == "Policy" or match[1] == "max"):
                where = f"{match[1]} {typo}"
                yield Mutation("misspelt word", where, _replace(text, match, wrong))


def _units(text: str) -> Iterator[Mutation]:
    for match in _code(text, _QUANTITY):
        yield Mutation("lost unit", match[0], _replace(text, match, "", 2))
        if match[2].endswith("iB"):
            new = match[2][0]
            yield Mutation("ambiguous unit", match[0], _replace(text, match, new, 2))


def _swapped_bounds(text: str) -> Iterator[Mutation]:
    for match in _code(text, _PAIR):
        if match[1] != match[2]:
            new = f"{{min: {match[2]}, max: {match[1]}}}"
            yield Mutation("swapped bounds", match[0], _replace(text, match, new, 0))
    names = (
        ("sampling_interval", "aggregation_interval"),
        ("min_regions", "max_regions"),
        ("min_sampling_interval", "max_sampling_interval"),
        ("high", "low"),
        ("high", "mid"),
        ("mid", "low"),
    )
    for one, other in names:
        keys = {name: re.search(rf"(?<![\w]){name}(?=: )", text) for name in (one, other)}
        if all(keys.values()):
            swapped = re.sub(rf"(?<![\w]){one}(?=: )", "\0", text)
            swapped = re.sub(rf"(?<![\w]){other}(?=: )", one, swapped).replace("\0", other)
            yield Mutation("swapped bounds", f"{one}/{other}", swapped)


def _lines(text: str) -> Iterator[Mutation]:
    lines = text.splitlines(keepends=True)
    for index, line in enumerate(lines):
        body = line.strip()
        if not body or body.startswith("#"):
            continue
        before, after = "".join(lines[:index]), "".join(lines[index + 1 :])
        yield Mutation("dropped line", body, before + after)
        if (rest := _after_block(lines, index)) != after:
            yield Mutation("dropped block", body, before + rest)
        yield Mutation("duplicated line", body, before + line + line + after)
        yield Mutation("indented", body, before + "  " + line + after)
        if line.startswith("  "):
            yield Mutation("dedented", body, before + line[2:] + after)
        colon = re.match(r"(\s*-?\s*[a-zA-Z_]+):", line)
        if colon:
            broken = line.replace(":", " ", 1)
            yield Mutation("lost colon", body, before + broken + after)


def _after_block(lines: list[str], index: int) -> str:
    """What follows the line and everything indented deeper than it."""
    indent = len(lines[index]) - len(lines[index].lstrip())
    rest = index + 1
    while rest < len(lines) and (
        not lines[rest].strip() or len(lines[rest]) - len(lines[rest].lstrip()) > indent
    ):
        rest += 1
    return "".join(lines[rest:])
