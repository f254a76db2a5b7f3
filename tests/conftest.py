# SPDX-License-Identifier: Apache-2.0
"""Tests marked `guest` run in lab guests, on every kernel asked for (docs/lab.md)."""

import os

pytest_plugins = ("tests.vm.plugin",)

if "DAMOS_LAB_KERNEL" not in os.environ:
    # Not in guests, where importing it takes seconds.
    from hypothesis import settings

    # No deadlines: machines are shared, and a test says nothing about speed. In CI a change is
    # judged by the same examples as the change before.
    settings.register_profile("quiet", deadline=None, derandomize="CI" in os.environ)
    settings.load_profile("quiet")
