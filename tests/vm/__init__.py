# SPDX-License-Identifier: Apache-2.0
"""The lab: runs commands and tests on real kernels in QEMU guests (docs/lab.md)."""
