# SPDX-License-Identifier: Apache-2.0
"""The tool ``inspect``: what is in a bag, what is wrong with it, and what the node would drop of it."""
