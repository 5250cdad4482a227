# SPDX-License-Identifier: Apache-2.0
"""The tool ``replay``: a bag through the node over DDS, and a report on what came out."""
