# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
"""The BPF program that reads page table entries of another process (x86-64).

It runs in our own context through BPF_PROG_TEST_RUN and changes nothing: it goes from our own open
file of /proc/PID/pagemap to that process's memory descriptor, and for each address down the page
table, whose physical addresses it finds in the kernel's direct map of all memory. Every read is
checked by the kernel and may fail.

A file of its own under two licences: the helper that reads kernel memory asks for a GPL-compatible
one (`LICENSE`).
"""

from __future__ import annotations

from typing import Final

from damos_agent.userspace.pte.assembler import Alu, Assembler, Jump
from damos_agent.userspace.pte.layout import (
    ADDRESSES,
    BASE,
    COUNT,
    ENTRIES,
    FAULT,
    FILE,
    LEVEL_SHIFT,
    LIMIT,
    MAX_ADDRESSES,
    MM,
    OFFSETS,
    PGD,
    USERS,
    Layout,
)

LICENSE: Final = b"GPL v2"

_TABLE_ADDRESS: Final = 0x000F_FFFF_FFFF_F000
_PRESENT: Final = 0x01
_LEAF: Final = 0x80  # PSE, in entries above the last level
_MAP_LOOKUP, _GET_CURRENT, _PROBE_READ_KERNEL = 1, 35, 113
_SHIFTS: Final = {5: 48, 4: 39, 3: 30, 2: 21, 1: 12}

# Registers that survive calls, and places on the stack (at 10).
_WORDS, _POINTER, _INDEX, _SLOT, _STACK = 6, 7, 8, 9, 10
_KEY, _VALUE, _TOP, _FAILURE = -4, -16, -24, -32


def build(map_file: int, layout: Layout) -> bytes:
    """The program's code, for the map behind that descriptor."""
    asm = Assembler()
    _find_words(asm, map_file)
    _find_memory(asm, layout.offsets)
    asm.alu(Alu.MOV, _INDEX, 0)
    asm.label("next")
    asm.load(1, _WORDS, 8 * COUNT)
    asm.jump_if_reg(Jump.GE, _INDEX, 1, "done")
    asm.jump_if(Jump.GE, _INDEX, MAX_ADDRESSES, "done")
    asm.alu_reg(Alu.MOV, _SLOT, _INDEX)
    asm.alu(Alu.LSH, _SLOT, 3)
    asm.alu_reg(Alu.ADD, _SLOT, _WORDS)
    asm.alu(Alu.MOV, 1, 0)
    asm.store(_STACK, _FAILURE, 1)
    asm.load(_POINTER, _STACK, _TOP)
    for level in range(layout.levels, 0, -1):
        _descend(asm, level)
    _store(asm)
    asm.alu(Alu.ADD, _INDEX, 1)
    asm.jump("next")
    asm.label("done")
    asm.alu(Alu.MOV, 0, 0)
    asm.exit()
    return asm.assemble()


def _find_words(asm: Assembler, map_file: int) -> None:
    """The map's memory; checked, as the verifier asks for."""
    asm.store32(_STACK, _KEY, 0)
    asm.load_map(1, map_file)
    asm.alu_reg(Alu.MOV, 2, _STACK)
    asm.alu(Alu.ADD, 2, _KEY)
    asm.call(_MAP_LOOKUP)
    asm.jump_if(Jump.NE, 0, 0, "found")
    asm.exit()
    asm.label("found")
    asm.alu_reg(Alu.MOV, _WORDS, 0)


def _find_memory(asm: Assembler, offsets: dict[tuple[str, str], int]) -> None:
    """From the file to mm_struct and its top table; ends where there is no process any more."""
    asm.alu(Alu.MOV, 0, 0)
    asm.store(_WORDS, 8 * MM, 0)
    asm.store(_WORDS, 8 * USERS, 0)
    asm.call(_GET_CURRENT)
    asm.alu_reg(Alu.MOV, _POINTER, 0)
    for pair in OFFSETS[:3]:
        _follow(asm, offsets[pair])
    asm.load(1, _WORDS, 8 * FILE)
    asm.alu(Alu.LSH, 1, 3)
    asm.alu_reg(Alu.ADD, _POINTER, 1)
    _follow(asm, 0)
    _follow(asm, offsets["file", "private_data"])
    asm.store(_WORDS, 8 * MM, _POINTER)
    asm.jump_if(Jump.EQ, _POINTER, 0, "done")
    asm.alu_reg(Alu.MOV, _SLOT, _POINTER)
    _follow(asm, offsets["mm_struct", "mm_users"])
    asm.alu(Alu.LSH, _POINTER, 32)  # it has 32 bits
    asm.alu(Alu.RSH, _POINTER, 32)
    asm.store(_WORDS, 8 * USERS, _POINTER)
    asm.jump_if(Jump.EQ, _POINTER, 0, "done")
    asm.alu_reg(Alu.MOV, _POINTER, _SLOT)
    _follow(asm, offsets["mm_struct", "pgd"])
    asm.store(_WORDS, 8 * PGD, _POINTER)
    asm.store(_STACK, _TOP, _POINTER)


def _follow(asm: Assembler, offset: int) -> None:
    """`pointer = *(pointer + offset)`; a failed read gives 0, and register 0 is not 0."""
    asm.alu(Alu.ADD, _POINTER, offset)
    asm.alu_reg(Alu.MOV, 3, _POINTER)
    asm.alu(Alu.MOV, 2, 8)
    asm.alu_reg(Alu.MOV, 1, _STACK)
    asm.alu(Alu.ADD, 1, _VALUE)
    asm.call(_PROBE_READ_KERNEL)
    asm.load(_POINTER, _STACK, _VALUE)


def _descend(asm: Assembler, level: int) -> None:
    """Read the entry of one level; go on to the next one if it names a table."""
    asm.load(1, _SLOT, 8 * ADDRESSES)
    asm.alu(Alu.RSH, 1, _SHIFTS[level])
    asm.alu(Alu.AND, 1, 511)
    asm.alu(Alu.LSH, 1, 3)
    asm.alu_reg(Alu.ADD, _POINTER, 1)
    _follow(asm, 0)
    _note_failure(asm, 0)
    asm.alu(Alu.MOV, 2, level)
    if level == 1:
        return
    # A huge page that is being split has the leaf bit and not the present bit.
    asm.alu_reg(Alu.MOV, 1, _POINTER)
    asm.alu(Alu.AND, 1, _LEAF | _PRESENT)
    asm.jump_if(Jump.NE, 1, _PRESENT, "store")
    asm.load_number(1, _TABLE_ADDRESS)
    asm.alu_reg(Alu.AND, _POINTER, 1)
    _bound(asm)
    asm.load(1, _WORDS, 8 * BASE)
    asm.alu_reg(Alu.ADD, _POINTER, 1)


def _bound(asm: Assembler) -> None:
    """A table outside of memory (it was freed while we read it) is a failure; go to address 0."""
    asm.load(1, _WORDS, 8 * LIMIT)
    asm.alu_reg(Alu.MOV, 3, _POINTER)
    asm.alu_reg(Alu.SUB, 3, 1)
    asm.alu(Alu.ARSH, 3, 63)  # all ones below the limit, else 0
    asm.alu_reg(Alu.AND, _POINTER, 3)
    asm.alu(Alu.XOR, 3, -1)
    _note_failure(asm, 3)


def _note_failure(asm: Assembler, register: int) -> None:
    """Negative numbers are failures. No jump: the verifier follows at most 8192 in a sequence."""
    asm.load(1, _STACK, _FAILURE)
    asm.alu_reg(Alu.OR, 1, register)
    asm.store(_STACK, _FAILURE, 1)


def _store(asm: Assembler) -> None:
    """The entry with its level (in 2), which a failure makes `FAULT`, to its slot."""
    asm.label("store")
    asm.load(1, _STACK, _FAILURE)
    asm.alu(Alu.ARSH, 1, 63)
    asm.alu(Alu.AND, 1, FAULT)
    asm.alu_reg(Alu.OR, 2, 1)
    asm.alu(Alu.LSH, 2, LEVEL_SHIFT)
    asm.load_number(1, ~(7 << LEVEL_SHIFT) & 0xFFFF_FFFF_FFFF_FFFF)
    asm.alu_reg(Alu.AND, _POINTER, 1)
    asm.alu_reg(Alu.OR, _POINTER, 2)
    asm.store(_SLOT, 8 * ENTRIES, _POINTER)
