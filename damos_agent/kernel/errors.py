"""What the kernel's errno means at each place, in words, with what to do about it.

DAMON answers several different troubles with the same errno: EBUSY may be an exclusive module, a
running kdamond or a lock; any bad scheme is ENOMEM (mm/damon/sysfs.c, sysfs-schemes.c).
"""

from __future__ import annotations

import errno
import os

from damos_agent.model.errors import BusyError, KernelError

_ON = {
    errno.EBUSY: (
        "cannot start: this kdamond runs already, or an exclusive DAMON module does",
        "see /sys/module/damon_{stat,reclaim,lru_sort}/parameters/enabled",
    ),
    errno.EINVAL: (
        "the kernel refused the context: intervals, region limits, target pids or ranges",
        "a target process may just have exited; this is retried",
    ),
    errno.ENOMEM: (
        (
            "the kernel refused a scheme (it says 'out of memory' for any bad one): "
            "an unknown cgroup in a filter or goal, or a reversed range"
        ),
        "check that every cgroup named by filters and goals exists",
    ),
}
_COMMIT = _ON | {
    errno.EBUSY: (
        "another DAMON command holds the lock",
        "another tool may be using DAMON; this is retried",
    ),
    errno.ECANCELED: ("the kdamond is not running any more", "it is started again"),
}
_POOL = {
    errno.EBUSY: (
        "the number of kdamonds cannot change while any of them runs",
        "stop the other user of DAMON, or leave it and use another backend",
    ),
}
_ANY = {
    errno.EACCES: ("permission denied", "the agent must run as root"),
    errno.EPERM: ("not permitted", "the agent must run as root, outside kernel lockdown"),
    errno.EROFS: ("sysfs is mounted read-only", "mount /sys/kernel/mm/damon writable"),
    errno.ENOENT: (
        "the file is not there: this kernel lacks it, or somebody else rebuilt the directory",
        "see `damosctl features`",
    ),
    errno.EINVAL: ("the kernel does not accept this value", "see `damosctl features`"),
    errno.ERANGE: ("the value is out of range", "see `damosctl features`"),
    errno.EBUSY: ("DAMON is busy with another command", "another tool may be using DAMON"),
}


def explain(error: OSError, path: str, value: str) -> KernelError:
    """The error to raise for a refused write of `value` to `path`, or (empty) reading of it."""
    number = error.errno or 0
    meaning, hint = _table(path, value).get(number) or _ANY.get(number) or (None, None)
    code = errno.errorcode.get(number, number)
    what = f"writing {value!r} failed with {code}" if value else f"reading failed with {code}"
    message = f"{what}: {meaning or os.strerror(number)}"
    kind = BusyError if number == errno.EBUSY else KernelError
    return kind(message, path=path, hint=hint, errno=number)


def _table(path: str, value: str) -> dict[int, tuple[str, str]]:
    if path.endswith("/state"):
        return _ON if value == "on" else _COMMIT
    return _POOL if path.endswith("/nr_kdamonds") else {}
