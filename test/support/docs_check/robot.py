# SPDX-License-Identifier: Apache-2.0
"""A bag that is played over and over, until it is interrupted: what a command has for a robot.

python -m support.docs_check.robot BAG
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions

from robocache_ros.bags import open_bag
from robocache_ros.tools.replay.player import Player

if __name__ == '__main__':
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # which would keep KeyboardInterrupt for itself
    player = Player(rclpy.create_node('robot'), open_bag(Path(sys.argv[1])), set())
    print('plays', flush=True)
    with suppress(KeyboardInterrupt):
        while True:
            player.play(lambda _: None)
