# SPDX-License-Identifier: Apache-2.0
"""What README and docs say can be run, run: ``make docs-check``."""
