# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in the lab, from a missing program to a kernel that panics."""


class LabError(Exception):
    """The lab could not do what it was asked to."""


class HostNotReadyError(LabError):
    """A program or a right that the lab needs is missing on this machine."""


class KernelUnavailableError(LabError):
    """No package of the wanted kernel series could be had."""


class GuestError(LabError):
    """A guest did not run its command to the end.

    `console` holds the guest's whole console, `stdout` and `stderr` what the command
    had written by then.
    """

    def __init__(self, reason: str, *, console: str, stdout: str = "", stderr: str = "") -> None:
        tail = "\n".join(console.splitlines()[-40:])
        super().__init__(f"{reason}\n--- end of the guest's console ---\n{tail}")
        self.reason = reason
        self.console = console
        self.stdout = stdout
        self.stderr = stderr


class GuestBootError(GuestError):
    """The guest never came as far as starting the command."""


class GuestPanicError(GuestError):
    """The guest's kernel panicked."""


class GuestDiedError(GuestError):
    """The guest powered off before the command had ended."""


class GuestTimeoutError(GuestError):
    """The guest was still running when its time was up; it has been ended."""


class GuestStoppedError(GuestError):
    """The guest was ended, because its session was."""
