# SPDX-License-Identifier: Apache-2.0
"""The tool ``view``: fused frames in Rerun."""
