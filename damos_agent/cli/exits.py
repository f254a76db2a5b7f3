"""Exit codes, the same for every verb, and what an error means for them.

After sysexits.h; 2 is left to `plan --detailed-exitcode`, so click's own 2 becomes 64.
"""

from __future__ import annotations

import errno
from typing import Final

from damos_agent.model.errors import DamosError, KernelError

OK: Final = 0
FAILED: Final = 1
"""Findings, drift, or failure."""
CHANGES: Final = 2
"""Only `plan --detailed-exitcode`: there is something to write."""
USAGE: Final = 64
UNAVAILABLE: Final = 69
"""The kernel has no DAMON sysfs interface."""
NO_PERMISSION: Final = 77
INTERRUPTED: Final = 130

_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})


class NoDamonError(DamosError):
    """This machine has no DAMON interface; nothing can be compared with it."""


class NothingThereError(DamosError):
    """The paths that were named hold nothing to work on: silence would look like success."""


def exit_code(error: DamosError) -> int:
    """The exit code for an error that ended the command."""
    if isinstance(error, NoDamonError):
        return UNAVAILABLE
    return NO_PERMISSION if error.errno in _DENIED else FAILED


def message_for(error: DamosError) -> str:
    """What is wrong. This program only reads, so a refusal by the kernel is one of reading."""
    if isinstance(error, KernelError) and error.errno in _DENIED:
        return "no permission to read it"
    return error.message


def hint_for(error: DamosError) -> str:
    """What the user of `damosctl` can do; the errors of the kernel floor speak to the agent."""
    if isinstance(error, KernelError) and error.errno in _DENIED:
        return "DAMON's files are readable by root only: run it with sudo"
    return error.hint or ""
