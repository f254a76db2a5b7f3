# SPDX-License-Identifier: Apache-2.0
"""Which Debian mirrors this machine uses, read from its own apt configuration.

The lab needs other suites than the machine's own. It takes the machine's mirrors, keyrings
and options over and replaces nothing but the suite, so proxies and local mirrors keep working.
Formats: sources.list(5), both the one-line and the deb822 form.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

# The deb822 fields (in lower case) that say how an archive is reached and trusted.
_KEPT_FIELDS = ("signed-by", "trusted", "check-valid-until", "inrelease-path", "by-hash")
_DEBIAN_SUITE = re.compile(
    r"(?:oldoldstable|oldstable|stable|testing|unstable|sid|bullseye|bookworm|trixie|forky|duke)"
    r"(?P<pocket>-updates|-backports|-proposed-updates|-security|/updates)?"
)
_SECURITY_POCKETS = ("-security", "/updates")


@dataclass(frozen=True, slots=True)
class Source:
    """One binary archive: where it is, what is taken from it, and how it is trusted."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()


def read_sources(etc_apt: Path = Path("/etc/apt")) -> list[Source]:
    """Every enabled binary source of the machine, in apt's own order."""
    parts = etc_apt / "sources.list.d"
    files = [etc_apt / "sources.list", *sorted(parts.glob("*.list"))]
    found: list[Source] = []
    for path in files:
        if path.is_file():
            found.extend(parse_one_line(path.read_text(encoding="utf-8")))
    for path in sorted(parts.glob("*.sources")):
        found.extend(parse_deb822(path.read_text(encoding="utf-8")))
    return found


def parse_one_line(text: str) -> Iterator[Source]:
    """The sources of a `*.list` file: `deb [options] URI SUITE COMPONENT…`."""
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<rest>\S.*)", line.strip())
        if match is None:
            continue
        words = match["rest"].split("#")[0].split()
        if len(words) < 3:
            continue
        pairs = (word.partition("=") for word in (match["options"] or "").split())
        options = tuple((name, value) for name, _, value in pairs if name in _KEPT_FIELDS)
        yield Source((words[0],), (words[1],), tuple(words[2:]), options)


def parse_deb822(text: str) -> Iterator[Source]:
    """The sources of a `*.sources` file: stanzas of fields, parted by empty lines."""
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        yield Source(
            uris=tuple(fields.get("uris", "").split()),
            suites=tuple(fields.get("suites", "").split()),
            components=tuple(fields.get("components", "").split()),
            options=tuple((name, fields[name]) for name in _KEPT_FIELDS if name in fields),
        )


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t") and name:
            fields[name] += "\n" + line
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def derive(sources: Iterable[Source], suites: Sequence[str]) -> list[Source]:
    """The machine's Debian archives with the given suites in place of their own.

    A suite that ends in `-security` is looked for in the security archive only, the others
    in the main archive only. The result is empty if the machine knows no Debian archive.
    """
    derived: list[Source] = []
    for source in sources:
        matches = [_DEBIAN_SUITE.fullmatch(suite) for suite in source.suites]
        pockets = [match["pocket"] for match in matches if match]
        if not pockets or "main" not in source.components:
            continue
        security = pockets[0] in _SECURITY_POCKETS
        wanted = tuple(suite for suite in suites if suite.endswith("-security") == security)
        one = replace(source, suites=wanted, components=("main",))
        if wanted and one not in derived:
            derived.append(one)
    return derived


def format_deb822(sources: Iterable[Source], *, keyring: Path | None = None) -> str:
    """The sources as a `*.sources` file; `keyring` replaces the keyrings they name."""
    stanzas = []
    for source in sources:
        options = dict(source.options)
        if keyring is not None:
            options["signed-by"] = str(keyring)
        lines = [
            "Types: deb",
            f"URIs: {' '.join(source.uris)}",
            f"Suites: {' '.join(source.suites)}",
            f"Components: {' '.join(source.components)}",
            "Architectures: amd64",
            *(f"{name}: {value}" for name, value in options.items()),
        ]
        stanzas.append("\n".join(lines) + "\n")
    return "\n".join(stanzas)
