"""What a check found in a policy, before its place in the file is known."""

from __future__ import annotations

from dataclasses import dataclass

from damos_agent.config.codes import finding
from damos_agent.config.document import Loc, Node, locate
from damos_agent.model.finding import Finding


@dataclass(frozen=True, slots=True)
class Issue:
    """`loc` leads to the offending value in the document (or, with `key`, to its key)."""

    code: str
    loc: Loc
    message: str
    hint: str = ""
    key: bool = False

    def placed(self, root: Node, path: str) -> Finding:
        """The finding, with line and column."""
        place = locate(root, self.loc, key=self.key)
        return finding(self.code, self.message, path, place, self.hint)
