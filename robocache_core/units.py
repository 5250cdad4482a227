# SPDX-License-Identifier: Apache-2.0
"""Units of integers: durations in nanoseconds, sizes in bytes."""

MS = 1_000_000
SECOND = 1_000_000_000
MIB = 1 << 20
