"""`python -m damos_agent.userspace.pte.offsets SYSFS`: offsets the program needs, as JSON.

A child process, because the kernel's type information is several MiB that the resident agent
should never have held.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

from damos_agent.host.btf import Btf, member_offsets, read_btf
from damos_agent.model.errors import DamosError, UnsupportedError
from damos_agent.userspace.pte.layout import OFFSETS

_TIMEOUT_S: Final = 60.0


def find_offsets(sysfs: str) -> dict[tuple[str, str], int]:
    """Bytes by `(structure, member)`. `UnsupportedError` when the kernel does not tell."""
    command = [sys.executable, "-s", "-P", "-m", __name__, sysfs]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_TIMEOUT_S, check=True, stdin=subprocess.DEVNULL
        )
        found = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        raise _unknown(error.stderr.decode("utf-8", "replace").strip()[-400:]) from error
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise _unknown(str(error)) from error
    return {pair: int(found[".".join(pair)]) for pair in OFFSETS}


def _unknown(reason: str) -> UnsupportedError:
    text = f"the layout of the kernel's structures cannot be found: {reason}"
    return UnsupportedError(text, hint="use another probe")


def main() -> int:
    """Print the offsets for the kernel whose sysfs is `argv[1]`."""
    data = read_btf(sys.argv[1])
    try:
        if data is None:
            raise UnsupportedError("the kernel has no type information (DEBUG_INFO_BTF)")
        found = member_offsets(Btf(data), OFFSETS)
    except DamosError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    json.dump({".".join(pair): offset for pair, offset in found.items()}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
