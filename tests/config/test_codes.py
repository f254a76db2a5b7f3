"""The table of codes."""

from __future__ import annotations

import re
from pathlib import Path

import damos_agent.config
from damos_agent.config.codes import CODES

SOURCES = Path(damos_agent.config.__file__).parent


def test_codes_look_alike() -> None:
    assert all(re.fullmatch(r"DA\d{3}", code) for code in CODES)


def test_every_code_is_used_and_every_used_code_is_in_the_table() -> None:
    used = {
        code
        for path in SOURCES.glob("*.py")
        if path.name != "code_rows.py"
        for code in re.findall(r'"(DA\d{3})"', path.read_text())
    }

    assert used == set(CODES)


def test_every_row_speaks() -> None:
    for row in CODES.values():
        assert row.summary
        assert row.why.endswith((".", ")"))
        assert row.remedy.endswith(".")
