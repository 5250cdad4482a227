# SPDX-License-Identifier: Apache-2.0
"""Write a rosbag2 of a robot that drives through a walled yard of known geometry.

Topics
    /lidar/points                                 sensor_msgs/PointCloud2   10 Hz, x y z intensity t ring, 1024 columns;
                                                  t: ns since the stamp; distorted by the robot's motion
    /lidar_rear/points                            the same of a second one, with --rear-lidar
    /imu/data                                     sensor_msgs/Imu           200 Hz, with gravity, noise and bias
    /camera/{front,rear}/image_raw[/compressed]   Image or CompressedImage  15 Hz, 640 x 480
    /camera/{front,rear}/camera_info              sensor_msgs/CameraInfo    15 Hz
    /camera/front_depth/image_rect_raw[/compressedDepth]
                                                  with --depth: 16UC1, 15 Hz, 320 x 240, mm, and its camera_info
    /scan                                         with --scanner: sensor_msgs/LaserScan, 10 Hz, 720 rays, 0.4 m high
    /odom                                         nav_msgs/Odometry         50 Hz, of wheels that slip, with --odometry
    /tf                                           odom -> base_link, likewise
    /joint_states                                 sensor_msgs/JointState    100 Hz, of an arm, with --joints
    /tf_static                                    base_link -> lidars, imu, front, rear (front, rear: optical frames)

``--without tf,camera`` leaves out what it names: tf, lidar, imu, camera. ``--clocks lidar=37,imu=-0.2`` and
``--drifts imu=200`` give sensors (lidar, lidar_rear, imu, front, rear, front_depth, scanner, odom, arm) clocks that are
ahead, s, and run fast, millionths.

In the folder of the bag are also truth.json (scene, poses of the sensors, biases, trajectory) and truth.npz (the
robot's true poses). The same options give the same bytes on the same machine.

Exit status: 0; 1 where the disk is full; 2 where OUT or the arguments cannot be used, as where OUT exists; 130 where it
was interrupted.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer

from robocache_ros.tools.progress import ProgressBar
from robocache_ros.tools.recording import PARTS, TYPESTORE, Recorded, recorded_messages
from robocache_ros.tools.sensor_clocks import SensorClock, clocks_of, numbers_by_name, with_clocks
from robocache_ros.tools.writing import UnwrittenError, named
from robocache_sim import sensors
from robocache_sim.arm import Arm
from robocache_sim.odometry import WheelOdometry
from robocache_sim.sensors import SECOND_NS, Robot
from robocache_sim.truth import write_truth

#: QoS of a topic whose messages a late subscriber must still get.
_LATCHED = Qos(
    QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL,
    QosTime(0, 0), QosTime(0, 0), QosLiveliness.AUTOMATIC, QosTime(0, 0), False,
)  # fmt: skip

_UNUSABLE = 2


def write_bag(
    out: Path,
    robot: Robot,
    *,
    seconds: float,
    storage: str = 'mcap',
    camera: str = 'jpeg',
    without: Collection[str] = (),
    depth: str = 'raw',
    clocks: Mapping[str, SensorClock] | None = None,
    odometry: WheelOdometry | None = None,
    arm: Arm | None = None,
    overwrite: bool = False,
    progress: Callable[[float], None] = lambda done: None,
) -> Counter[str]:
    """Write the bag ``out`` (a folder), truth.json and truth.npz in it; nothing is left when that fails half-way.

    Args:
        out: folder of the bag.
        robot: the robot.
        seconds: see ``recorded_messages``.
        storage: ``mcap`` or ``sqlite3``.
        camera: see ``recorded_messages``.
        without: see ``recorded_messages``.
        depth: see ``recorded_messages``.
        clocks: of the sensors that are wrong, by name.
        odometry: see ``recorded_messages``.
        arm: see ``recorded_messages``.
        overwrite: replace ``out`` where it is a bag.
        progress: called after each message with the seconds of the bag that are done.

    Returns:
        Messages by topic.

    Raises:
        FileExistsError: ``out`` exists, and is not a bag or ``overwrite`` is not given.
    """
    if out.exists() and not overwrite:
        raise FileExistsError(f'{out} exists: choose another name or overwrite it')
    if out.exists() and not (out / 'metadata.yaml').is_file():
        raise FileExistsError(f'{out} exists and is not a bag: it is not overwritten')
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.simulate-', dir=out.parent) as scratch:
        bag = Path(scratch) / out.name
        start_ns = robot.world.trajectory.start_ns
        recorded = recorded_messages(robot, seconds, camera, without, depth, odometry, arm)
        messages = with_clocks(recorded, clocks or {}, start_ns)
        counts = _write_messages(bag, messages, storage, start_ns, progress)
        write_truth(bag, robot, seconds)
        if out.exists():
            shutil.rmtree(out)
        bag.rename(out)
    return counts


def _write_messages(
    bag: Path, messages: Iterable[Recorded], storage: str, start_ns: int, progress: Callable[[float], None]
) -> Counter[str]:
    counts: Counter[str] = Counter()
    with Writer(bag, version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        connections = {}
        for record_ns, topic, message in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(
                    topic,
                    message.__msgtype__,
                    typestore=TYPESTORE,
                    offered_qos_profiles=[_LATCHED] if topic == '/tf_static' else [],
                )
            writer.write(connections[topic], record_ns, TYPESTORE.serialize_cdr(message, message.__msgtype__))
            counts[topic] += 1
            progress((record_ns - start_ns) / SECOND_NS)
    return counts


def _within(kind: Callable[[str], Any], low: float, high: float) -> Callable[[str], Any]:
    """An argument of type ``kind`` in ``[low, high]``."""

    def convert(text: str) -> Any:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f'{text}: must be from {low} to {high}')
        return value

    convert.__name__ = kind.__name__
    return convert


def _parts(text: str) -> tuple[str, ...]:
    """The parts in a list with commas; without all of those that are sensors nothing would be left."""
    parts = tuple(text.split(','))
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        raise argparse.ArgumentTypeError(f'{",".join(unknown)}: must be of {",".join(PARTS)}')
    if not set(PARTS) - {'tf'} - set(parts):
        raise argparse.ArgumentTypeError(f'{text}: leaves no sensor')
    return parts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='simulate', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', metavar='OUT', type=Path, help='folder of the bag')
    parser.add_argument('--seconds', type=_within(float, 0.1, 1e6), default=10.0, help='length, s (10)')
    parser.add_argument('--seed', type=_within(int, 0, 2**63), default=0, help='of noise, biases and delays (0)')
    parser.add_argument('--storage', choices=('mcap', 'sqlite3'), default='mcap', help='(mcap)')
    parser.add_argument('--camera', choices=('jpeg', 'png', 'raw'), default='jpeg', help='(jpeg)')
    parser.add_argument(
        '--depth',
        choices=('none', 'raw', 'compressedDepth'),
        default='none',
        help='a depth camera, and its transport (none)',
    )
    parser.add_argument(
        '--without', type=_parts, default=(), metavar='PARTS', help=f'parts to leave out, of {",".join(PARTS)}'
    )
    parser.add_argument('--imu-rate', type=_within(float, 10, 1000), default=200.0, help='Hz (200)')
    parser.add_argument('--lidar-rings', type=_within(int, 2, 128), default=64, help='(64)')
    parser.add_argument(
        '--rear-lidar',
        type=_within(float, 0, 0.099),
        nargs='?',
        const=0.03,
        metavar='SECONDS',
        help='a second lidar, whose scans begin so long after those of the first, s (0.03)',
    )
    parser.add_argument('--odometry', action='store_true', help='of wheels that slip')
    parser.add_argument('--joints', action='store_true', help='joint states of an arm')
    parser.add_argument('--speed', type=_within(float, -10, 10), default=1.5, help='mean speed, m/s (1.5)')
    parser.add_argument(
        '--yaw-rate', type=_within(float, -10, 10), help='mean yaw rate, rad/s (such that it looks along its path)'
    )
    parser.add_argument('--scanner', action='store_true', help='a 2-D lidar')
    parser.add_argument(
        '--clocks', type=numbers_by_name, default={}, metavar='SENSOR=S,…', help='by how much clocks are ahead, s'
    )
    parser.add_argument(
        '--drifts',
        type=numbers_by_name,
        default={},
        metavar='SENSOR=PPM,…',
        help='by how much they run fast, millionths',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace OUT where it is a bag')
    return parser


def run(argv: list[str] | None) -> int:
    """Run the command line; returns the exit status."""
    args = _parser().parse_args(argv)
    robot = sensors.robot(
        seed=args.seed,
        speed=args.speed,
        yaw_rate=args.yaw_rate,
        lidar_rings=args.lidar_rings,
        imu_rate=args.imu_rate,
        depth=args.depth != 'none',
        scanner=args.scanner,
        rear_phase_ns=None if args.rear_lidar is None else round(args.rear_lidar * SECOND_NS),
    )
    odometry = WheelOdometry(robot.world) if args.odometry else None
    arm = Arm(robot.world) if args.joints else None
    try:
        names = [each.name for each in (*robot.sensors, odometry, arm) if each is not None]
        clocks = clocks_of(names, args.clocks, args.drifts)
    except ValueError as error:
        _parser().error(str(error))
    bar = ProgressBar(args.seconds)
    began = time.monotonic()
    try:
        with named(args.out):
            counts = write_bag(
                args.out,
                robot,
                seconds=args.seconds,
                storage=args.storage,
                camera=args.camera,
                without=args.without,
                depth=args.depth,
                clocks=clocks,
                odometry=odometry,
                arm=arm,
                overwrite=args.overwrite,
                progress=lambda done_s: bar.show(done_s, args.out.name),
            )
    except sqlite3.OperationalError as error:  # as SQLite says that the disk is full
        raise UnwrittenError(f'{args.out}: {error}') from error
    except OSError as error:
        print(f'simulate: {error}', file=sys.stderr)
        return _UNUSABLE
    bar.close()
    size = sum(file.stat().st_size for file in args.out.iterdir()) / 1e6
    print(
        f'{args.out}: {args.seconds:g} s, {counts.total()} messages on {len(counts)} topics, {size:.0f} MB, '
        f'made in {time.monotonic() - began:.1f} s'
    )
    return 0
