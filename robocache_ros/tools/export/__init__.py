# SPDX-License-Identifier: Apache-2.0
"""The tool ``export``: bags to a training set, of the frames that the node gives."""
