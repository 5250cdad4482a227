# SPDX-License-Identifier: Apache-2.0
"""The files of a rosbag2: which there are, and the messages of each, to the end or as far as it can be read."""

from robocache_ros.bag_files.channel import BagFile, Channel, FileError
from robocache_ros.bag_files.folder import Listing, files_of, opened

__all__ = ['BagFile', 'Channel', 'FileError', 'Listing', 'files_of', 'opened']
