# SPDX-License-Identifier: Apache-2.0
"""The files of a rosbag2: which there are, and the messages of each, to the end or as far as it can be read.

They are read here because the libraries that were tried give too little of damaged files and trust the lengths in them.
Of an MCAP cut in half the readers of ``mcap`` 1.6.0 and ``rosbags`` 0.11.9 give an error and no message; ``mcap``'s
``StreamReader`` gives the chunks before the cut, not what is whole of the last one, nor where. With ``mcap`` a chunk
with a wrong CRC ends the reading (90 of 300 messages; here 270), and a wrong place of the summary loses all. A chunk of
65 kB that becomes 2 GiB takes 2 GiB there, one that says 2^60 bytes is a MemoryError, and a file without a summary is
held in memory whole (351 MiB for one of 320; here 20). It takes 1.6 to 4.7 times as long for 100,000 small messages.
"""

from robocache_ros.bag_files.channel import BagFile, Channel, FileError
from robocache_ros.bag_files.folder import Listing, files_of, opened

__all__ = ['BagFile', 'Channel', 'FileError', 'Listing', 'files_of', 'opened']
