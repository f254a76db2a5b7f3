"""The simulation beside the real kernel: same tree, same defaults, same answers to any text.

These run in lab guests only; test_captured.py compares with recorded trees on any machine.
"""

from __future__ import annotations

import pytest

from tests.sim.contract_tree import COUNTS, stage_everything, walk, writable
from tests.sim.subject import Subject, real, simulated
from tests.sim.versions import Version

pytestmark = pytest.mark.guest(virtual_time=True)

TEXTS = (
    *("0", "1", "3", "03", "010", "0x3", "0X0f", "+1", "-1", " 1", "1 ", "1\n", "1\n\n", "08"),
    *("\n", "Y", "y", "n", "on", "off", "t", "F", "enable", "d", "2", "o", "1K", "bogus", "/a\n"),
    *("255", "256", "65536", "4294967296", "9223372036854775808"),
    *("18446744073709551615", "18446744073709551616", "-2147483649", "-18446744073709551616"),
    *("anon", "anon\n", "memcg", "young", "addr", "target", "hugepage_size", "unmapped", "active"),
    *("willneed", "cold", "pageout", "hugepage", "nohugepage", "collapse", "lru_prio"),
    *("lru_deprio", "migrate_hot", "migrate_cold", "stat", "vaddr", "fvaddr", "paddr"),
    *("none", "free_mem_rate", "consist", "temporal", "user_input", "some_mem_psi_us"),
    *("node_mem_used_bp", "node_mem_free_bp", "node_memcg_used_bp", "node_memcg_free_bp"),
    *("active_mem_bp", "inactive_mem_bp", "node_eligible_mem_bp", "pgidle_set", "probe_hits_wsum"),
)


def _twin(version: Version) -> Subject:
    return simulated(f"{version[0]}.{version[1]}")


def test_tree_and_defaults() -> None:
    kernel = real()
    kernel.cleanup()
    twin = _twin(kernel.kernel)
    stage_everything(kernel)
    stage_everything(twin)
    try:
        assert walk(twin) == walk(kernel)
    finally:
        kernel.cleanup()


def test_every_file_answers_every_text_alike() -> None:
    kernel = real()
    kernel.cleanup()
    twin = _twin(kernel.kernel)
    stage_everything(kernel)
    stage_everything(twin)
    files = [path for path in walk(twin) if not path.endswith(("/", "/state"))]
    counts = [path for path in reversed(COUNTS) if path in files]
    differences = []
    for path in [path for path in files if path not in COUNTS] + counts:
        if writable(twin, path) != writable(kernel, path):
            differences.append((path, "mode"))
            continue
        for text in TEXTS:
            if path in COUNTS and text in ("255", "256", "65536"):
                continue
            ours = twin.refusal(path, text), twin.fs.read(f"{twin.root}/{path}")
            theirs = kernel.refusal(path, text), kernel.fs.read(f"{kernel.root}/{path}")
            if ours != theirs:
                differences.append((path, f"{text!r}: simulated {ours}, real {theirs}"))
    kernel.cleanup()
    assert differences == []
