# SPDX-License-Identifier: Apache-2.0
"""How the tools show their findings: tables on a terminal, and pages of one file that need no network."""
