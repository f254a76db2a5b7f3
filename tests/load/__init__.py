# SPDX-License-Identifier: Apache-2.0
"""Processes whose accesses to memory are known exactly, and how well somebody told them."""
