"""`spec.schemes[].filters[]`: memory to spare (reject), or to be restricted to (allow)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Discriminator, Tag, model_validator

from damos_agent.config.quantities import U32, CgroupPath, Size, SizeBound
from damos_agent.config.shape import Shape, described, exactly_one
from damos_agent.config.shape_target import RangeShape


class FilterWord(StrEnum):
    """Filters without an argument."""

    ANON = "anon"
    YOUNG = "young"
    UNMAPPED = "unmapped"
    ACTIVE = "active"


class SizeRangeShape(Shape):
    """Closed range of sizes."""

    min: Size = described("Smallest.", 0, shown="0B")
    max: SizeBound = described("Largest, or max.", None, shown="max")


class MatchShape(Shape):
    """Memory by an argument, or the opposite of a match. Exactly one of these."""

    memcg: CgroupPath | None = described(
        "Pages charged to exactly this control group; those below do not count.", None,
        since="6.3", kernel="filters/N/memcg_path",
    )  # fmt: skip
    addr: RangeShape | None = described(
        "Regions inside the range.", None, since="6.6", kernel="filters/N/addr_start, addr_end"
    )
    target: U32 | None = described(
        "Regions of the n-th process of `target.pids`, from 0.", None,
        since="6.6", kernel="filters/N/damon_target_idx",
    )  # fmt: skip
    hugepage_size: SizeRangeShape | None = described(
        "Pages whose (huge) page size is in the range.", None,
        since="6.15", kernel="filters/N/min, max",
    )  # fmt: skip
    not_: AnyMatch | None = described(
        "Memory that the inner match does not match.", None,
        alias="not", kernel="filters/N/matching = N",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, "a match")
        return self


def _match_form(value: Any) -> str:
    return "(word)" if isinstance(value, (str, FilterWord)) else "(mapping)"


AnyMatch = Annotated[
    Annotated[FilterWord, Tag("(word)")] | Annotated[MatchShape, Tag("(mapping)")],
    Discriminator(_match_form),
]


class FilterShape(Shape):
    """Exactly one of these. The first filter that catches a page or region decides."""

    allow: AnyMatch | None = described(
        "Act on this memory. A list that ends in allow filters rejects all other memory.", None,
        since="6.14", kernel="filters/N/allow = Y",
    )  # fmt: skip
    reject: AnyMatch | None = described(
        "Spare this memory.", None, since="6.3", kernel="filters/N/allow = N"
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, "a filter")
        return self
