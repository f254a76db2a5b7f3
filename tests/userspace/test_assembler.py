"""Encoding of BPF, against instructions written out by hand."""

from __future__ import annotations

import pytest

from damos_agent.model.errors import UnsupportedError
from damos_agent.userspace.pte.assembler import Alu, Assembler, Jump
from damos_agent.userspace.pte.layout import OFFSETS, Layout
from damos_agent.userspace.pte.program import build


def hexed(asm: Assembler) -> list[str]:
    code = asm.assemble()
    return [code[place : place + 8].hex() for place in range(0, len(code), 8)]


def test_instructions_are_encoded_as_the_standard_says() -> None:
    asm = Assembler()
    asm.alu(Alu.MOV, 0, -1)
    asm.alu_reg(Alu.ADD, 7, 1)
    asm.load(1, 6, 16)
    asm.store(10, -24, 7)
    asm.store32(10, -4, 0)
    asm.load_number(1, 0x000F_FFFF_FFFF_F000)
    asm.load_map(1, 5)
    asm.call(113)
    asm.exit()
    assert hexed(asm) == [
        "b7000000ffffffff",
        "0f17000000000000",
        "7961100000000000",
        "7b7ae8ff00000000",
        "620afcff00000000",
        "1801000000f0ffff",
        "00000000ffff0f00",
        "1811000005000000",
        "0000000000000000",
        "8500000071000000",
        "9500000000000000",
    ]


def test_jumps_count_from_the_next_instruction() -> None:
    asm = Assembler()
    asm.label("start")
    asm.jump_if(Jump.EQ, 1, 3, "end")
    asm.jump_if_reg(Jump.GE, 8, 1, "end")
    asm.jump("start")
    asm.label("end")
    asm.exit()
    assert hexed(asm)[:3] == ["1501020003000000", "3d18010000000000", "0500fdff00000000"]


def test_what_does_not_fit_is_refused() -> None:
    asm = Assembler()
    asm.load(1, 6, 1 << 15)
    with pytest.raises(UnsupportedError, match="cannot be encoded"):
        asm.assemble()


def test_five_levels_take_one_step_more() -> None:
    offsets = dict.fromkeys(OFFSETS, 8)
    four, five = (build(3, Layout(levels, offsets)) for levels in (4, 5))
    assert len(four) < len(five) < 4096 * 8
