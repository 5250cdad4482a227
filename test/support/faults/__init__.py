# SPDX-License-Identifier: Apache-2.0
"""The fault matrix: every kind of fault in a robot's recording, and what must hold of what comes out."""
