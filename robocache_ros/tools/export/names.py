# SPDX-License-Identifier: Apache-2.0
"""The formats of training sets, a row each. Imports nothing, as the command line asks for it first."""

#: By name, the module and class of its writer.
FORMATS = {
    'webdataset': ('webdataset', 'WebDatasetWriter'),
    'mcap': ('mcap', 'McapWriter'),
    'lerobot': ('lerobot.writer', 'LeRobotWriter'),
}
