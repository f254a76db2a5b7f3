# SPDX-License-Identifier: Apache-2.0
"""Tests marked `guest` run in lab guests, on every kernel asked for (docs/lab.md)."""

pytest_plugins = ("tests.vm.plugin",)
