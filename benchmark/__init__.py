# SPDX-License-Identifier: Apache-2.0
"""What the operations cost beside the libraries that people use today; ``docs/performance.md`` says how to read it."""
