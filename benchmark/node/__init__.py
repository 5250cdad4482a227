# SPDX-License-Identifier: Apache-2.0
"""A message's whole path, from its publisher to the complete result, through the node and beside it."""
