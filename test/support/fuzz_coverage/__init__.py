# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing of the targets in ``support.fuzz.targets``."""
