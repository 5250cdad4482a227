# SPDX-License-Identifier: Apache-2.0
"""Small programs to start from."""
