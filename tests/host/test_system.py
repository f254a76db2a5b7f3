"""Facts about the machine as a whole."""

from __future__ import annotations

import os
import pwd
import time
import uuid

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.roots import Roots
from damos_agent.host.system import (
    read_boot_id,
    read_exclusive_modules,
    read_kernel_release,
    read_uid,
    read_uptime_us,
)
from damos_agent.model.errors import HostError
from tests.host.fakes import FakeFilesystem


def test_uptime_is_microseconds() -> None:
    fs = FakeFilesystem({"/proc/uptime": "350735.47 234388.90\n"})
    assert read_uptime_us(fs, Roots()) == 350_735_470_000


def test_this_machine_is_described() -> None:
    fs, roots = RealFilesystem(), Roots()
    assert read_kernel_release(fs, roots) == os.uname().release
    assert str(uuid.UUID(read_boot_id(fs, roots))) == read_boot_id(fs, roots)
    clock = time.clock_gettime(time.CLOCK_BOOTTIME) * 1e6
    assert abs(read_uptime_us(fs, roots) - clock) < 5e6


def test_a_missing_proc_is_an_error_with_its_path() -> None:
    with pytest.raises(HostError) as caught:
        read_boot_id(FakeFilesystem(), Roots(proc="/p"))
    assert caught.value.path == "/p/sys/kernel/random/boot_id"


def test_exclusive_modules_are_those_enabled() -> None:
    module = "/sys/module/{}/parameters/enabled"
    fs = FakeFilesystem(
        {
            module.format("damon_stat"): "Y\n",
            module.format("damon_reclaim"): "N\n",
            module.format("damon_lru_sort"): "Y\n",
            module.format("zswap"): "Y\n",
        }
    )
    assert read_exclusive_modules(fs, Roots()) == ("damon_stat", "damon_lru_sort")
    assert read_exclusive_modules(FakeFilesystem(), Roots()) == ()


def test_users_are_names_or_numbers() -> None:
    me = pwd.getpwuid(os.geteuid())
    assert read_uid(me.pw_name) == me.pw_uid
    assert read_uid("4242") == 4242
    assert read_uid("no-such-user-here") is None
