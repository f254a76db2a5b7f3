"""The bpf(2) system call on x86-64: one map shared with a program, loading it, running it once."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from contextlib import ExitStack
from typing import Final

from damos_agent.host.libc import system_call
from damos_agent.model.errors import DamosError, HostError, UnsupportedError

_BPF: Final = 321
_MAP_CREATE, _PROG_LOAD, _PROG_TEST_RUN = 0, 5, 10
_ARRAY: Final = 2
_MMAPABLE: Final = 1 << 10
_RAW_TRACEPOINT: Final = 17  # runs under TEST_RUN in the caller's own context, since 5.10
_ATTR_BYTES: Final = 120
_RUN_BYTES: Final = 80
_LOG_BYTES: Final = 1 << 16
_LOG_TAIL: Final = 800


class SharedMap:
    """A BPF array of one value, seen as 64-bit words. Raises as `explain`."""

    def __init__(self, size: int) -> None:
        attr = struct.pack("<5I", _ARRAY, 4, size, 1, _MMAPABLE)
        with ExitStack() as stack:
            try:
                self.file = _bpf(_MAP_CREATE, attr.ljust(_ATTR_BYTES, b"\0"))
                stack.callback(os.close, self.file)
                memory = stack.enter_context(mmap.mmap(self.file, size))
            except OSError as error:
                raise explain(error, "a BPF map cannot be made") from error
            view = stack.enter_context(memoryview(memory))
            self.words = stack.enter_context(view.cast("Q"))
            self._opened = stack.pop_all()

    def close(self) -> None:
        """Give it back; may be called again."""
        self._opened.close()


class Program:
    """A loaded program. Raises as `explain`, with what the verifier says."""

    def __init__(self, code: bytes, licence: bytes) -> None:
        try:
            self._file = _load(code, licence, None)
        except OSError as error:
            log = ctypes.create_string_buffer(_LOG_BYTES)
            try:
                self._file = _load(code, licence, log)  # worked now: never mind
            except OSError:
                said = log.value.decode("ascii", "replace").strip()[-_LOG_TAIL:]
                raise explain(error, f"the kernel refuses the BPF program: {said}") from error
        self._attr = ctypes.create_string_buffer(struct.pack("<I", self._file), _RUN_BYTES)
        self._place = ctypes.addressof(self._attr)

    def run(self) -> None:
        """Run it once, here and now. Raises `OSError`."""
        system_call(_BPF, _PROG_TEST_RUN, self._place, _RUN_BYTES)

    def close(self) -> None:
        """Give it back; may be called again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def explain(error: OSError, what: str) -> DamosError:
    """`UnsupportedError` for a kernel that cannot, `HostError` for one that may not."""
    if error.errno in (errno.EPERM, errno.EACCES):
        hint = "run as root, or with CAP_BPF and CAP_PERFMON"
        return HostError(what, errno=error.errno, hint=hint)
    reason = f"{what} ({error.strerror})"
    return UnsupportedError(reason, errno=error.errno, hint="use another probe")


def _bpf(command: int, attr: bytes) -> int:
    buffer = ctypes.create_string_buffer(attr, len(attr))
    return system_call(_BPF, command, ctypes.addressof(buffer), len(attr))


def _load(code: bytes, licence: bytes, log: ctypes.Array[ctypes.c_char] | None) -> int:
    text = ctypes.create_string_buffer(code, len(code))
    name = ctypes.create_string_buffer(licence)
    where = (1, len(log), ctypes.addressof(log)) if log is not None else (0, 0, 0)
    attr = struct.pack(
        "<2I2Q2IQ",
        _RAW_TRACEPOINT,
        len(code) // 8,
        ctypes.addressof(text),
        ctypes.addressof(name),
        *where,
    )
    return _bpf(_PROG_LOAD, attr.ljust(_ATTR_BYTES, b"\0"))
