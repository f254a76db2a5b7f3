"""A small assembler for BPF. Encoding: Documentation/bpf/standardization/instruction-set.rst."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from damos_agent.model.errors import UnsupportedError

_INSTRUCTION: Final = struct.Struct("<BBhI")
_MASK32: Final = 0xFFFFFFFF

_ALU64_IMM: Final = 0x07
_ALU64_REG: Final = 0x0F
_JUMP_IMM: Final = 0x05
_JUMP_REG: Final = 0x0D
_LOAD64: Final = 0x79  # LDX MEM DW
_STORE64: Final = 0x7B  # STX MEM DW
_STORE32_IMM: Final = 0x62  # ST MEM W
_LOAD_IMM64: Final = 0x18
_CALL: Final = 0x85
_EXIT: Final = 0x95
_MAP_FD: Final = 1  # BPF_PSEUDO_MAP_FD


class Alu(IntEnum):
    """64-bit arithmetic."""

    ADD = 0x00
    SUB = 0x10
    OR = 0x40
    AND = 0x50
    LSH = 0x60
    RSH = 0x70
    XOR = 0xA0
    MOV = 0xB0
    ARSH = 0xC0


class Jump(IntEnum):
    """Conditions between 64-bit values; orders are unsigned."""

    ALWAYS = 0x00
    EQ = 0x10
    GE = 0x30
    NE = 0x50


class Assembler:
    """Instructions in order, with jumps to labels. Registers are numbers, 0 to 10."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int, int]] = []
        self._labels: dict[str, int] = {}
        self._jumps: list[tuple[int, str]] = []

    def label(self, name: str) -> None:
        """Where jumps to `name` go."""
        self._labels[name] = len(self._code)

    def alu(self, operation: Alu, target: int, value: int) -> None:
        """`target = target operation value`, a number of 32 bits, sign-extended."""
        self._emit(_ALU64_IMM | operation, target, 0, 0, value)

    def alu_reg(self, operation: Alu, target: int, source: int) -> None:
        """`target = target operation source`."""
        self._emit(_ALU64_REG | operation, target, source)

    def load(self, target: int, base: int, offset: int) -> None:
        """`target = *(u64 *)(base + offset)`."""
        self._emit(_LOAD64, target, base, offset)

    def store(self, base: int, offset: int, source: int) -> None:
        """`*(u64 *)(base + offset) = source`."""
        self._emit(_STORE64, base, source, offset)

    def store32(self, base: int, offset: int, value: int) -> None:
        """`*(u32 *)(base + offset) = value`, a number."""
        self._emit(_STORE32_IMM, base, 0, offset, value)

    def load_number(self, target: int, value: int) -> None:
        """`target = value`, a number of 64 bits."""
        self._emit(_LOAD_IMM64, target, 0, 0, value & _MASK32)
        self._emit(0, 0, 0, 0, value >> 32)

    def load_map(self, target: int, descriptor: int) -> None:
        """`target =` the map behind a descriptor of the loading process."""
        self._emit(_LOAD_IMM64, target, _MAP_FD, 0, descriptor)
        self._emit(0)

    def call(self, helper: int) -> None:
        """Call a helper: arguments in 1-5, result in 0; 1-5 are lost."""
        self._emit(_CALL, 0, 0, 0, helper)

    def exit(self) -> None:
        """End, with the result in register 0."""
        self._emit(_EXIT)

    def jump(self, name: str) -> None:
        """Go to the label."""
        self.jump_if(Jump.ALWAYS, 0, 0, name)

    def jump_if(self, condition: Jump, left: int, value: int, name: str) -> None:
        """Go to the label if `left condition value`, a number of 32 bits."""
        self._jumps.append((len(self._code), name))
        self._emit(_JUMP_IMM | condition, left, 0, 0, value)

    def jump_if_reg(self, condition: Jump, left: int, right: int, name: str) -> None:
        """Go to the label if `left condition right`."""
        self._jumps.append((len(self._code), name))
        self._emit(_JUMP_REG | condition, left, right)

    def assemble(self) -> bytes:
        """The machine code. `UnsupportedError` for an offset beyond 16 bits."""
        offsets = {place: self._labels[name] - place - 1 for place, name in self._jumps}
        try:
            return b"".join(
                _INSTRUCTION.pack(
                    code, target | source << 4, offsets.get(place, offset), value & _MASK32
                )
                for place, (code, target, source, offset, value) in enumerate(self._code)
            )
        except struct.error as error:
            raise UnsupportedError(f"the BPF program cannot be encoded: {error}") from error

    def _emit(
        self, code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0
    ) -> None:
        self._code.append((code, target, source, offset, value))
