"""What a sample of the page table probe costs: `python -m tests.bench.probe_cost`.

Microseconds of this thread's CPU time per sample, arming and checking, median of rounds; on a
child whose memory is all in use or all idle. Root, x86-64; writes nothing but young bits of it.
"""

from __future__ import annotations

import random
import statistics
import time

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.roots import Roots
from damos_agent.userspace.probe import PageSampler
from damos_agent.userspace.pte.probe import PteProbe
from damos_agent.userspace.specimen import Specimen

ROUNDS = 15
WAIT_S = 0.05
HALF_BYTES = 64 << 20
PAGE = 4096


def measure(sampler: PageSampler, span: tuple[int, int], count: int) -> tuple[float, float, float]:
    """(µs per sample, µs of arming alone, share that reads accessed)."""
    sampler.arm(range(*span, PAGE))  # clears what was left from before
    whole, arming, accessed = [], [], []
    for _ in range(ROUNDS):
        addresses = random.choices(range(*span, PAGE), k=count)
        began = time.thread_time()
        sampler.arm(addresses)
        armed = time.thread_time() - began
        time.sleep(WAIT_S)
        began = time.thread_time()
        found = sampler.check()
        whole.append((armed + time.thread_time() - began) / count * 1e6)
        arming.append(armed / count * 1e6)
        accessed.append(found.count(True) / count)
    return statistics.median(whole), statistics.median(arming), statistics.mean(accessed)


def main() -> None:
    began = time.process_time()
    probe = PteProbe(RealFilesystem(), Roots())
    print(f"start of the probe: {time.process_time() - began:.2f} s of CPU")
    for huge in (False, True):
        with Specimen(huge=huge, half_bytes=HALF_BYTES) as specimen:
            sampler = probe.open(specimen.placement)
            for name, span in (("hot", specimen.hot), ("cold", specimen.cold)):
                for count in (100, 1000):
                    whole, arming, seen = measure(sampler, span, count)
                    print(
                        f"{'THP' if huge else '4K '} {name:4} {count:5} samples: {whole:6.2f} µs "
                        f"each, of that arming {arming:6.2f}; accessed {seen:.3f}"
                    )
            sampler.close()
    probe.close()


if __name__ == "__main__":
    main()
