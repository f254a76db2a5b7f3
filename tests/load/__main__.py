# SPDX-License-Identifier: Apache-2.0
"""A process with known truth: `python -m tests.load LAYOUT [--kind KIND] ...`, see `--help`.

Prints one line of JSON with pid, addresses and sizes once all its memory is resident, then touches
it for ever. Ends with its parent.
"""

import os
import sys

from tests.load.libc import die_with
from tests.load.options import parser
from tests.load.worker import Worker

if __name__ == "__main__":
    die_with(os.getppid())
    worker = Worker(parser().parse_args(), sys.argv[1:])
    worker.announce()
    worker.run()
