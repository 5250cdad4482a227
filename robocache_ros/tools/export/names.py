# SPDX-License-Identifier: Apache-2.0
"""The formats of training sets, a row each, and what computes them. Imports nothing, as the command line asks first."""

#: By name, the module and class of its writer.
FORMATS = {
    'webdataset': ('webdataset', 'WebDatasetWriter'),
    'mcap': ('mcap', 'McapWriter'),
    'lerobot': ('lerobot.writer', 'LeRobotWriter'),
}

#: What computes: processes of this machine, or tasks of a Ray cluster.
ENGINES = ('processes', 'ray')
