# SPDX-License-Identifier: Apache-2.0
"""The operations on a GPU beside the same work in torch on it, in the same run; ``python -m benchmark.gpu``."""
