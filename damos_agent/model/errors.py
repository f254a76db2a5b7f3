"""The one exception tree. Every message says what is wrong, where, and what to do."""

from __future__ import annotations


class DamosError(Exception):
    """Base of every error this project raises on purpose.

    `message` says what is wrong; `path` where (a file or a sysfs path); `hint` what to do;
    `errno` the kernel's answer, if it gave one; `policy` whose work failed.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        hint: str | None = None,
        errno: int | None = None,
        policy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.hint = hint
        self.errno = errno
        self.policy = policy

    def __str__(self) -> str:
        text = self.message if self.path is None else f"{self.path}: {self.message}"
        return text if self.hint is None else f"{text} ({self.hint})"


class UnitError(DamosError):
    """A quantity such as `5s` or `1GiB` could not be read."""


class ConfigError(DamosError):
    """A policy or agent file is unusable; findings carry the places."""


class HostError(DamosError):
    """Something about the machine could not be read."""


class UnsupportedError(DamosError):
    """This kernel or machine cannot do what was asked. Unsupported is not failed."""


class KernelError(DamosError):
    """DAMON's sysfs interface refused something."""


class BusyError(KernelError):
    """EBUSY outlived its retries: another command, another tool, or an exclusive module."""


class OwnershipError(DamosError):
    """A kdamond, slot or lock belongs to somebody else."""


class CompileError(DamosError):
    """The policy compiler child failed as a whole (not a finding in a policy)."""
