# SPDX-License-Identifier: Apache-2.0
"""What a round of the vma probe costs us and the process: `python -m tests.bench.mapping_cost`.

Root. A child of 1 GiB; our processor time for each step, and the child's worst latency of mmap,
touch and munmap around a step, beside that without any.
"""

import time
from collections.abc import Callable

from damos_agent.host.roots import Roots
from damos_agent.userspace.mapping import VmaProbe, VmaSampler
from tests.bench.spread import Spread, spread
from tests.userspace.child import MIB, Child, child

ROUNDS = 7
WINDOWS = 25
WINDOW_S = 0.04
HALF_BYTES = 512 * MIB


def main() -> None:
    for huge in (False, True):
        with child(HALF_BYTES, huge=huge) as target:
            sampler = VmaProbe(Roots()).open(target.placement)
            print("huge pages" if huge else "4K pages", "1 GiB")
            for name, figure in _figures(sampler, target).items():
                print(f"  {name:<34}{figure.text(2)}")
            sampler.close()


def _figures(sampler: VmaSampler, target: Child) -> dict[str, Spread]:
    guess = sampler.predicted_stall_us() / 1000
    figures = {
        "our time, clear": _time(sampler.clear, target),
        "our time, read": _time(sampler.read, target),
        "child's worst mmap, no rounds": _latency(target, lambda: None),
        "child's worst mmap, clear": _latency(target, sampler.clear),
        "child's worst mmap, read": _latency(target, sampler.read),
    }
    figures["predicted stall, before and after"] = spread(
        (guess, sampler.predicted_stall_us() / 1000), "ms"
    )
    return figures


def _time(step: Callable[[], object], target: Child) -> Spread:
    took = []
    for _ in range(ROUNDS):
        target.do("hot")
        began = time.thread_time()
        step()
        took.append((time.thread_time() - began) * 1000)
    return spread(took, "ms")


def _latency(target: Child, step: Callable[[], object]) -> Spread:
    """The child's worst of each window, within which `step` runs once.

    Windows are short, and medians over many: on a busy machine the worst of a long one is the
    scheduler's doing.
    """
    worst = []
    for _ in range(WINDOWS):
        target.tell(f"latency {WINDOW_S}")
        time.sleep(WINDOW_S / 4)
        step()
        worst.append(float(target.answer()) * 1000)
    return spread(worst, "ms")


if __name__ == "__main__":
    main()
