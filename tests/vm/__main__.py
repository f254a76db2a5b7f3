# SPDX-License-Identifier: Apache-2.0
"""The lab by hand: `python -m tests.vm --kernel 7.3 -- COMMAND…`, `--shell`, `--list`."""

import argparse
import sys
from pathlib import Path

from tests.vm.errors import LabError
from tests.vm.guest import Job, boot
from tests.vm.host import ensure_host_packages
from tests.vm.packages import BUILT, SUITES, cached, fetch
from tests.vm.qemu import Machine


def main(argv: list[str] | None = None) -> int:
    """Exit status of the command in the guest; 125 when the lab itself failed."""
    options = _parser().parse_args(argv)
    try:
        if options.list:
            return _list()
        if options.fetch:
            return _fetch(options.kernel)
        return _run(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 125


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("--kernel", default="7.3", choices=[*SUITES, *BUILT], help="kernel series")
    parser.add_argument("--memory", type=int, default=2048, metavar="MIB")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--numa-nodes", type=int, default=1)
    parser.add_argument("--virtual-time", action="store_true", help="clock counts instructions")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS")
    parser.add_argument("--module", action="append", help="load it first (default: zram)")
    parser.add_argument("--no-modules", action="store_const", const=[], dest="module")
    parser.add_argument("--kernel-arg", action="append", default=[], metavar="ARG")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--writable", action="append", default=[], metavar="GUEST_PATH=HOST_DIRECTORY"
    )
    parser.add_argument("--shell", action="store_true", help="a shell on this terminal")
    parser.add_argument("--list", action="store_true", help="kernels known and cached")
    parser.add_argument("--fetch", action="store_true", help="fetch the kernel and stop")
    parser.add_argument("command", nargs="*", help="argv, after --")
    return parser


def _list() -> int:
    origins = {series: ", ".join(suites) for series, suites in SUITES.items()}
    for series, origin in (origins | BUILT).items():
        kernel = cached(series)
        state = kernel.release if kernel else "not fetched yet"
        print(f"{series:9} {state:32} {origin}")
    return 0


def _fetch(series: str) -> int:
    ensure_host_packages()
    print(fetch(series).release)
    return 0


def _run(options: argparse.Namespace) -> int:
    if not options.command and not options.shell:
        print("lab: nothing to run: give -- COMMAND… or --shell", file=sys.stderr)
        return 125
    machine = Machine(options.memory, options.cpus, options.numa_nodes, options.virtual_time)
    job = Job(
        command=[] if options.shell else options.command,
        cwd=Path.cwd(),
        env=_pairs(options.env),
        modules=("zram",) if options.module is None else options.module,
        writable={path: Path(host) for path, host in _pairs(options.writable).items()},
        kernel_args=options.kernel_arg,
        timeout_s=options.timeout,
        echo=True,
    )
    return boot(options.kernel, machine, job).returncode


def _pairs(texts: list[str]) -> dict[str, str]:
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


if __name__ == "__main__":
    sys.exit(main())
