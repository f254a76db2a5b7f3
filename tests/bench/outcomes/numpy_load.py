# SPDX-License-Identifier: Apache-2.0
"""A Python job with numpy: `numpy_load.py SECONDS GROUP`, by an interpreter that has numpy.

It loads a table and derives the columns it works on, and holds on to both, as such jobs do. Whole
numbers only: emulated processors take a hundred times as long for others.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from tests.bench.outcomes import protocol
from tests.tlb import forget_translations

MIB = 1 << 20
_TABLE_MIB, _COLUMNS_MIB = 192, 48
_APART, _STEP_S = 256, 0.02


def main() -> None:
    seconds, group = float(sys.argv[1]), sys.argv[2]
    protocol.enter(group, os.getpid())
    numpy: Any = importlib.import_module("numpy")
    random = numpy.random.default_rng(1)
    table = random.integers(0, 1000, size=_TABLE_MIB * MIB // 4, dtype=numpy.int32)
    columns = table[: _COLUMNS_MIB * MIB // 4] * 3 + 1

    def step(number: int) -> None:
        # One number in 256: a part of each page, in use all the time and not much work.
        part = columns[number % _APART :: _APART]
        numpy.bitwise_xor(part, number, out=part)
        forget_translations()

    step(0)
    protocol.ready(os.getpid())
    took = protocol.run(step, round(seconds / _STEP_S), _STEP_S)
    start = int(table.ctypes.data)
    protocol.done(took, [(start, start + table.nbytes)], table.nbytes)


if __name__ == "__main__":
    main()
