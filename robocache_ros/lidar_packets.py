# SPDX-License-Identifier: Apache-2.0
"""Messages that hold what a lidar sends over the network: no points until its driver has made them."""

from __future__ import annotations

_OUSTER = (
    'it holds packets of an Ouster, no points: run `ros2 launch ouster_ros replay.launch.xml` on a recording, or the '
    'driver with `proc_mask` including PCL, and take the PointCloud2 of /ouster/points'
)
_HESAI = (
    "it holds packets of a Hesai, no points: run the sensor's driver (hesai_ros_driver, nebula) on them, and take its "
    'PointCloud2'
)
_ROBOSENSE = 'it holds packets of a Robosense, no points: run rslidar_sdk with `msg_source: 2`, take its PointCloud2'

#: By full name of the type, what to run instead.
PACKETS = {
    'velodyne_msgs/msg/VelodyneScan': (
        'it holds packets of a Velodyne, no points: run `ros2 run velodyne_pointcloud velodyne_transform_node` on '
        '/velodyne_packets, and take the PointCloud2 of /velodyne_points'
    ),
    **{f'{package}/msg/PacketMsg': _OUSTER for package in ('ouster_ros', 'ouster_sensor_msgs', 'ouster_msgs')},
    'hesai_ros_driver/msg/UdpFrame': _HESAI,
    'pandar_msgs/msg/PandarScan': _HESAI,
    'nebula_msgs/msg/NebulaPackets': _HESAI,
    'rslidar_msg/msg/RslidarPacket': _ROBOSENSE,
}
