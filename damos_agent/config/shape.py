"""What every part of a document shares: closed, immutable, and described field by field."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from damos_agent.config.quantities import Name, fail


class Shape(BaseModel):
    """A mapping of the policy language. Unknown keys are refused."""

    # Only whole documents are ever validated: building a validator per part would double the start.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    def given(self) -> list[str]:
        """The keys the document gave, by their names in the document."""
        fields = type(self).model_fields
        return [fields[name].alias or name for name in fields if name in self.model_fields_set]


def described(
    text: str,
    default: Any = ...,
    *,
    shown: Any = None,
    since: str = "",
    kernel: str = "",
    **rest: Any,
) -> Any:
    """A field with its description.

    `shown`: the default as people write it; `kernel`: the sysfs file it ends up in, below the
    context or scheme; `since`: the first kernel that has it.
    """
    extra: dict[str, Any] = {}
    if shown is not None:
        extra["default"] = shown
    if since:
        extra["x-since"] = since
    if kernel:
        extra["x-kernel"] = kernel
    return Field(default, description=text, json_schema_extra=extra or None, **rest)


def exactly_one(shape: Shape, what: str) -> None:
    """Refuse a mapping that gives none or several of its keys (DA029)."""
    given = shape.given()
    if len(given) == 1:
        return
    known = ", ".join(field.alias or name for name, field in type(shape).model_fields.items())
    found = " and ".join(f"`{key}`" for key in given) if given else "none"
    fail("DA029", f"{what} needs exactly one key, found {found}", f"keep one of {known}")


def one_source(feed: str | None, file: str | None) -> None:
    """Refuse a number from outside that comes from nowhere or from two places (DA029)."""
    if (feed is None) == (file is None):
        found = "none" if feed is None else "`feed` and `file`"
        fail("DA029", f"a number needs exactly one source, found {found}", "keep feed or file")


class Metadata(Shape):
    """Who this document is."""

    name: Name = described(
        "Name of the policy, unique on the machine: 1 to 63 lower-case letters, digits, dashes."
    )
    labels: dict[str, str] = described(
        "Free-form labels, for tools that select by them.", default_factory=dict, shown={}
    )
    annotations: dict[str, str] = described(
        "Free-form notes, for people and tools.", default_factory=dict, shown={}
    )
