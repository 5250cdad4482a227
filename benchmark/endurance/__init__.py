# SPDX-License-Identifier: Apache-2.0
"""Long runs and overload: what is left over, and what recovers."""
