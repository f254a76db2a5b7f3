"""One file's bytes into a policy or settings, with everything that is wrong about it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ValidationError

from damos_agent.config.build import build_policy, build_settings
from damos_agent.config.check_agent import check_settings
from damos_agent.config.check_monitoring import check_monitoring, check_target
from damos_agent.config.check_reach import check_reach
from damos_agent.config.check_scheme import check_scheme
from damos_agent.config.check_userspace import check_userspace
from damos_agent.config.codes import finding
from damos_agent.config.document import Node, decode_text, locate, parse_document, plain
from damos_agent.config.issue import Issue
from damos_agent.config.shape_agent import AgentDocument
from damos_agent.config.shape_policy import PolicyDocument
from damos_agent.config.translate import near, translate
from damos_agent.model.finding import Finding, Severity
from damos_agent.model.policy import Origin, Policy
from damos_agent.model.settings import Settings

API_VERSION: Final = "damos-agent/v1"
_SHAPES: Final[dict[str, type[BaseModel]]] = {"Policy": PolicyDocument, "Agent": AgentDocument}


@dataclass(frozen=True, slots=True)
class Loaded:
    """One file. `policy` and `settings` are None when an error rejected it.

    `kind` is what the document says it is, or empty; `root` keeps the places of its values.
    """

    path: str
    digest: str
    kind: str = ""
    policy: Policy | None = None
    settings: Settings | None = None
    findings: tuple[Finding, ...] = ()
    root: Node | None = None


def load_bytes(
    data: bytes, path: str, *, masked: tuple[str, ...] = (), want: str | None = None
) -> Loaded:
    """Read a document; `want` demands a kind. Never raises for what the bytes say."""
    digest = hashlib.sha256(data).hexdigest()
    text, findings = decode_text(data, path)
    if text is None:
        return Loaded(path, digest, findings=findings)
    root, findings = parse_document(text, path)
    if root is None or findings:
        return Loaded(path, digest, findings=findings)
    kind, findings = _kind(root, path, want)
    if findings:
        return Loaded(path, digest, kind, findings=findings, root=root)
    return _load_kind(root, kind, path, Origin(path, digest, _first_line(root), masked))


def _first_line(root: Node) -> int:
    return locate(root, ("metadata", "name"))[0]


def _kind(root: Node, path: str, want: str | None) -> tuple[str, tuple[Finding, ...]]:
    if not isinstance(root.value, dict):
        message = "the document must be a mapping that starts with apiVersion"
        return "", (finding("DA024", message, path, root.place),)
    version = root.value.get("apiVersion")
    if version is None or version.value != API_VERSION:
        where = locate(root, ("apiVersion",))
        message = "apiVersion is missing" if version is None else "unknown apiVersion"
        return "", (finding("DA020", message, path, where, f"write apiVersion: {API_VERSION}"),)
    node = root.value.get("kind")
    kind = node.value if node is not None and isinstance(node.value, str) else ""
    where = locate(root, ("kind",))
    if kind not in _SHAPES:
        close = near(kind, list(_SHAPES))
        message = f"unknown kind {kind[:40]!r}" if node is not None else "kind is missing"
        hint = f"did you mean {close}?" if close else f"write kind: {want or 'Policy'}"
        return kind, (finding("DA021", message, path, where, hint),)
    if want is not None and kind != want:
        message = f"a document of kind {kind} where a {want} belongs"
        return kind, (finding("DA021", message, path, where, f"expected kind: {want}"),)
    return kind, ()


def _load_kind(root: Node, kind: str, path: str, origin: Origin) -> Loaded:
    shape = _SHAPES[kind]
    try:
        document = shape.model_validate(plain(root))
    except ValidationError as error:
        found = tuple(translate(error, root, shape, path))
        return Loaded(path, origin.digest, kind, findings=found, root=root)
    policy = build_policy(document, origin) if isinstance(document, PolicyDocument) else None
    settings = build_settings(document) if isinstance(document, AgentDocument) else None
    issues: list[Issue] = []
    if policy is not None:
        issues += policy_issues(policy)
    if settings is not None:
        issues += check_settings(settings)
    placed = [issue.placed(root, path) for issue in issues]
    found = tuple(sorted(placed, key=lambda item: (item.line, item.column, item.code)))
    bad = any(item.severity is Severity.ERROR for item in found)
    return Loaded(
        path,
        origin.digest,
        kind,
        policy=None if bad else policy,
        settings=None if bad else settings,
        findings=found,
        root=root,
    )


def policy_issues(policy: Policy) -> Iterator[Issue]:
    """Everything that does not make sense within one policy."""
    yield from check_target(policy.target)
    yield from check_reach(policy)
    yield from check_userspace(policy)
    yield from check_monitoring(policy.monitoring)
    for index in range(len(policy.schemes)):
        yield from check_scheme(policy, index)
