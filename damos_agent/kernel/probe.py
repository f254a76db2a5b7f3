"""`python -m damos_agent.kernel.probe SYSFS RELEASE`: features as JSON.

A child process, because the kernel's type information is several MiB that the resident agent
should never have held.
"""

from __future__ import annotations

import json
import sys

from damos_agent.host.btf import read_btf
from damos_agent.host.filesystem import RealFilesystem
from damos_agent.kernel.features import detect
from damos_agent.model.codec import encode


def main() -> int:
    """Print the features of the kernel whose sysfs is `argv[1]` and release `argv[2]`."""
    sysfs, release = sys.argv[1:3]
    features = detect(RealFilesystem(), sysfs, release, read_btf(sysfs))
    json.dump(encode(features), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
