"""How the simulation refuses: the kernel's errno as `OSError`, and a crash nobody may catch."""

from __future__ import annotations

import os


def refuse(code: int, path: str = "") -> OSError:
    """The `OSError` the system call would raise for errno `code`."""
    return OSError(code, os.strerror(code), path)


class Crash(BaseException):
    """The writer was killed after a write had taken effect (fault injection).

    A `BaseException` of its own, so that no handler in the code under test can swallow it.
    """


class KernelPanicError(BaseException):
    """The write corrupts this kernel's memory: a second command to a kdamond that has ended."""
