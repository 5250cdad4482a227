# SPDX-License-Identifier: Apache-2.0
"""What is released, how it is built, and how it is checked."""
