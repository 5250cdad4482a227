# SPDX-License-Identifier: Apache-2.0
"""Faults of robots put into recordings: of transport, of clocks, and of what messages hold."""
