# SPDX-License-Identifier: Apache-2.0
"""A configuration made from a bag."""

import dataclasses
import math

import numpy as np
import pytest
import yaml
from support import bags, depths, mcap_by_hand, vectors
from support.lidars import LIVOX, livox, multi_echo

from robocache_core.config import GROUPS
from robocache_core.tunable import ConfigError
from robocache_ros import parameters
from robocache_ros.bag_types import types_in
from robocache_ros.bags import BagError, Topic, open_bag
from robocache_ros.offline import fused_frames
from robocache_ros.sources import SOURCES
from robocache_ros.tools.config_from_bag import config_from_bag
from robocache_ros.tools.stream_names import stream_names

NONE = (0.0, 0.0, 0.0, 1.0)
JPEG = b'\xff\xd8\xff\xe0' + bytes(20)


def made_from(tmp_path, *messages):
    return config_from_bag(open_bag(bags.write(tmp_path / 'bag', [m for part in messages for m in part])))


@pytest.mark.parametrize(
    ('topics', 'names'),
    [
        (['/lidar/points', '/imu/data'], ['lidar', 'imu']),
        (['/camera/front/image_raw/compressed', '/camera/rear/image_raw'], ['front', 'rear']),
        (['/left/camera/image_raw', '/right/camera/image_raw'], ['left_camera', 'right_camera']),
        (['/cam/image_raw', '/cam/image_raw/compressed'], ['cam_image_raw', 'cam_image_raw_compressed']),
        (['/points', '/imu'], ['points', 'imu']),
        (['/2d/scan', '/my-lidar/points'], ['s_2d', 'my_lidar']),
        (['/sync/points', '/compute/image_raw', '/upload/imu'], ['sync_points', 'compute_image_raw', 'imu']),
        (['/sync', '/upload', '/lidars'], ['sync_1', 'upload_1', 'lidars_1']),
        (['/robot/sync', '/a/qos_overrides/points'], ['robot_sync', 'a_qos_overrides']),
        (['/a-b', '/a_b', '/a_b_1'], ['a_b_2', 'a_b_3', 'a_b_1']),
        (['/head/depth/image_rect_raw', '/head/color/image_raw/compressedDepth'], ['depth', 'color']),
        (['/a/b/image_raw', '/c/b/image_raw', '/b/image_raw'], ['a_b', 'c_b', 'b_image_raw']),
    ],
)
def test_streams_are_named_after_their_topics(topics, names):
    assert list(stream_names(tuple(topics)).values()) == names


def test_every_sensor_topic_becomes_a_stream(tmp_path):
    made = made_from(
        tmp_path,
        bags.every(100, '/lidar/points', lambda ms: bags.cloud(ms, names=('x', 'y', 'z', 'intensity'))),
        bags.every(5, '/imu/data', bags.imu),
        bags.every(66, '/front/image_raw/compressed', bags.compressed),
        bags.every(66, '/rear/image_raw', bags.image),
        bags.every(100, '/chatter', bags.text),
        [(0, '/tf_static', bags.transforms(('base_link', 'lidar', (1.0, 0.0, 2.0), NONE)))],
    )
    text = made.to_yaml('a bag')
    path = tmp_path / 'preprocess.yaml'
    path.write_text(text)
    unknown = []
    pipeline, _ = parameters.from_file(path, warn=unknown.append)
    assert unknown == []
    assert [s.name for s in pipeline.streams()] == ['lidar', 'front', 'rear', 'imu']
    assert pipeline.trigger == 'lidar'
    assert pipeline.target_frame == 'base_link'
    assert pipeline.lidars[0].extrinsics == (1.0, 0.0, 2.0, 0.0, 0.0, 0.0, 1.0)
    assert [camera.is_compressed for camera in pipeline.cameras] == [True, False]
    assert pipeline.imus[0].window_size * pipeline.imus[0].window_period_ns == 100_000_000
    assert '# Made from a bag.' in text


A, B, C = ('base_link', 'a'), ('base_link', 'b'), ('base_link', 'c')


@pytest.mark.parametrize(
    ('frames', 'edges', 'target', 'kept', 'notes'),
    [
        ('ab', [A, B], 'base_link', 'ab', []),
        ('ab', [('map', 'base_link'), A, B], 'base_link', 'ab', []),
        ('ab', [('base_footprint', 'mast'), ('mast', 'a'), ('mast', 'b')], 'base_footprint', 'ab', []),
        ('ab', [('chassis', 'mast'), ('mast', 'a'), ('chassis', 'b')], 'chassis', 'ab', []),
        ('ab', [A], 'base_link', 'a', ["/b/points: no /tf_static joins its frame 'b' to 'base_link'"]),
        ('abc', [A, ('chassis', 'b'), ('chassis', 'c')], 'chassis', 'bc',
         ["/a/points: no /tf_static joins its frame 'a' to 'chassis', the frame of most lidars"]),
        ('ab', [], '', 'a', ["no /tf_static joins 'a', 'b' to base_link",
                             "/b/points: no /tf_static joins its frame 'b' to 'a'"]),
        ('a', [], '', 'a', ["no /tf_static joins 'a' to base_link"]),
        ('a', [('sensor', 'a')], 'sensor', 'a', []),
        ('aa', [], 'a', 'ab', []),
        (['', ''], [A], '', 'a', ['whose frames have no name', "/b/points: no /tf_static joins its frame '' to ''"]),
    ],
)  # fmt: skip
def test_the_voxels_are_in_the_frame_that_joins_most_lidars(tmp_path, frames, edges, target, kept, notes):
    clouds = (
        bags.every(100, f'/{name}/points', lambda ms, frame=frame: bags.cloud(ms, frame))
        for name, frame in zip('abc'[: len(frames)], frames, strict=True)
    )
    static = bags.transforms(*((*edge, (1.0, 0.0, 0.0), NONE) for edge in edges))
    made = made_from(tmp_path, *clouds, [(0, '/tf_static', static)])
    assert made.parameters['target_frame'] == target
    assert made.parameters['lidars'] == list(kept)
    assert all(('extrinsics' in made.parameters[name]) == bool(target) for name in kept)
    assert len(made.notes) == len(notes)
    for words, note in zip(notes, made.notes, strict=True):
        assert words in note


def test_transforms_that_cannot_be_read_are_named_as_the_cause(tmp_path):
    clouds = (bags.every(100, f'/{frame}/points', lambda ms, frame=frame: bags.cloud(ms, frame)) for frame in 'ab')
    bag = open_bag(bags.write(tmp_path / 'bag', [message for topic in clouds for message in topic]))
    static = Topic('/tf_static', 'tf2_msgs/msg/TFMessage', 1, unreadable='tf2_msgs is not installed')
    notes = config_from_bag(dataclasses.replace(bag, topics={**bag.topics, static.name: static})).notes
    assert notes[0] == '/tf_static is ignored: tf2_msgs is not installed'
    assert notes[1].startswith("without /tf_static nothing joins 'a', 'b' to base_link: voxels are in the lidar's own")
    assert notes[2] == "left out: /b/points: /tf_static, which may join its frame 'b' to 'a', cannot be read"


def test_channels_of_fields_that_the_cloud_lacks_are_left_out(tmp_path):
    made = made_from(tmp_path, bags.every(100, '/points', bags.cloud))
    assert made.parameters['points']['voxel']['channels'] == ['count', 'mean:x', 'mean:y', 'mean:z']


def test_a_slow_stream_gets_a_tolerance_that_it_can_keep(tmp_path):
    made = made_from(
        tmp_path, bags.every(100, '/points', bags.cloud), bags.every(500, '/cam/image_raw', bags.image, 4000)
    )
    assert made.parameters['cam']['tolerance'] == pytest.approx(0.75)
    assert 'tolerance' not in made.parameters['points']  # the trigger is never off its own stamps


def test_the_window_reaches_from_target_to_target_at_the_imus_own_rate(tmp_path):
    made = made_from(tmp_path, bags.every(50, '/points', bags.cloud), bags.every(10, '/imu', bags.imu))
    assert (made.parameters['imu']['window_size'], made.parameters['imu']['window_period']) == (5, 0.01)


@pytest.mark.parametrize('lidar_ms', [100, 500])
@pytest.mark.parametrize('imu_ms', [10, 100, 150, 250, 1000])
def test_an_imu_of_any_rate_costs_few_targets(tmp_path, imu_ms, lidar_ms):
    messages = (
        bags.every(lidar_ms, '/points', bags.cloud, 10_000),
        bags.every(imu_ms, '/imu', bags.imu, 10_000),
    )
    config, _ = parameters.from_dict(made_from(tmp_path, *messages).parameters)
    assert len(list(fused_frames(tmp_path / 'bag', config))) >= 0.95 * 10_000 / lidar_ms


def test_without_a_lidar_the_camera_is_the_trigger_and_without_both_a_rate(tmp_path):
    camera = made_from(tmp_path / 'a', bags.every(100, '/z/image_raw', bags.image), bags.every(10, '/imu', bags.imu))
    assert camera.parameters['sync'] == {'trigger': 'z'}
    imu = made_from(tmp_path / 'b', bags.every(10, '/imu', bags.imu))
    assert imu.parameters['sync'] == {'rate_hz': 10.0}
    assert 'cameras' not in imu.parameters  # ROS parameter files have no empty lists


@pytest.mark.parametrize('namespace', ['', '/robot', '/fleet/robot'])
@pytest.mark.parametrize(
    ('topic', 'make', 'streams'),
    [('/points', bags.cloud, ['points']), ('/cam/image_raw', bags.image, ['cam']), ('/imu', bags.imu, ['imu'])],
)
def test_the_configuration_has_the_streams_of_the_bag_in_any_namespace(tmp_path, topic, make, streams, namespace):
    path = tmp_path / 'preprocess.yaml'
    path.write_text(made_from(tmp_path, bags.every(100, topic, make)).to_yaml('bag'))
    pipeline, _ = parameters.from_file(path, f'{namespace}/preprocess', warn=pytest.fail)
    assert [stream.name for stream in pipeline.streams()] == streams


def test_what_cannot_be_a_stream_is_left_out_by_name(tmp_path):
    def no_depth(ms):
        return depths.compressed_image(ms, bytes(40), '16UC1; compressedDepth')

    made = made_from(
        tmp_path,
        bags.every(100, '/points', bags.cloud),
        bags.every(100, '/depth/compressedDepth', no_depth),
    )
    assert 'depths' not in made.parameters
    assert any('/depth/compressedDepth' in note and '0 x 0' in note for note in made.notes)


@pytest.mark.parametrize('written', ['theora', 'h264', 'ffmpeg; libx264'])
def test_a_compressed_topic_that_is_no_jpeg_or_png_is_left_out_by_name(tmp_path, written):
    made = made_from(
        tmp_path,
        bags.every(100, '/points', bags.cloud),
        bags.every(100, '/cam/image_raw', bags.image),
        bags.every(50, '/cam/image_raw/x', lambda ms: dataclasses.replace(bags.compressed(ms), format=written)),
    )
    assert made.parameters['cam']['topic'] == '/cam/image_raw'
    assert [note for note in made.notes if '/x' in note] == [
        f'left out: /cam/image_raw/x: format {written!r} is not JPEG or PNG'
    ]


@pytest.mark.parametrize(
    'kind',
    [
        'theora_image_transport/msg/Packet',
        'ffmpeg_image_transport_msgs/msg/FFMPEGPacket',
        'foxglove_msgs/msg/CompressedVideo',
    ],
)
def test_a_video_is_left_out_by_name(tmp_path, kind):
    channels = [
        mcap_by_hand.Channel('/points', 'sensor_msgs/msg/PointCloud2'),
        mcap_by_hand.Channel('/cam/image_raw/video', kind),
    ]
    cloud = bytes(bags.STORE.serialize_cdr(bags.cloud(0), 'sensor_msgs/msg/PointCloud2'))
    messages = [(k, bags.START_NS + ms * bags.MS, (cloud, b'x')[k]) for ms in range(0, 1000, 100) for k in (0, 1)]
    made = config_from_bag(open_bag(mcap_by_hand.write(tmp_path / 'a.mcap', channels, messages)))
    assert 'cameras' not in made.parameters
    assert any(f'left out: /cam/image_raw/video: it is a video ({kind})' in note for note in made.notes)


def test_a_depth_camera_is_proposed_for_images_of_depth(tmp_path):
    counts = depths.scene()
    quanta, quantum = depths.quantised(counts / 1000)
    rvl, png = depths.compressed_depth(counts, 'rvl'), depths.compressed_depth(quanta, quantum=quantum)

    def packed(data, form):
        return lambda ms: depths.compressed_image(ms, data, form)

    made = made_from(
        tmp_path,
        bags.every(100, '/mm/image_rect_raw', lambda ms: depths.depth_image(ms, counts)),
        bags.every(50, '/mm/image_rect_raw/compressedDepth', packed(rvl, '16UC1; compressedDepth')),
        bags.every(100, '/far/depth/image_raw', lambda ms: depths.depth_image(ms, counts.astype(np.float32))),
        bags.every(100, '/b/compressedDepth', packed(png, '32FC1; compressedDepth png')),
        bags.every(100, '/c/compressed', packed(depths.png(counts), '16UC1; png compressed')),
        bags.every(100, '/d/image/compressed', packed(JPEG, '16UC1; jpeg compressed ')),
    )
    assert 'cameras' not in made.parameters
    assert made.parameters['depths'] == ['b', 'c', 'depth', 'mm']
    assert made.parameters['sync'] == {'trigger': 'b'}
    assert made.parameters['mm'] == {
        'topic': '/mm/image_rect_raw/compressedDepth', 'message': 'compressed', 'width': 64, 'height': 48,
    }  # fmt: skip
    assert made.parameters['depth']['message'] == 'raw'
    notes = '\n'.join(made.notes)
    assert '/far/depth/image_raw: its 32FC1 seems to be in mm, not m: the median of its distances is 1' in notes
    assert 'left out: /d/image/compressed' in notes
    assert 'holds no distances: record the topic of compressedDepth' in notes
    assert 'left out: /mm/image_rect_raw: it is the camera of' in notes
    config, _ = parameters.from_dict(made.parameters, warn=pytest.fail)
    frames = list(fused_frames(tmp_path / 'bag', config))
    assert len(frames) > 10
    assert all(frame.tensors[f'{name}.valid'].any() for frame in frames for name in ('b', 'c', 'mm'))


def test_an_encoding_that_the_node_refuses_is_left_out_by_name(tmp_path):
    made = made_from(
        tmp_path,
        bags.every(100, '/points', bags.cloud),
        bags.every(100, '/cam/image_raw', lambda ms: dataclasses.replace(bags.image(ms), encoding='64FC3')),
    )
    assert 'cameras' not in made.parameters
    assert any('/cam/image_raw' in note and '64FC3' in note for note in made.notes)


@pytest.mark.parametrize(
    ('raw_period_ms', 'taken', 'left'),
    [(100, '/cam/image_raw', '/cam/image_raw/compressed'), (1000, '/cam/image_raw/compressed', '/cam/image_raw')],
)
def test_a_raw_topic_and_its_compressed_twin_are_one_camera(tmp_path, raw_period_ms, taken, left):
    made = made_from(
        tmp_path,
        bags.every(raw_period_ms, '/cam/image_raw', bags.image),
        bags.every(100, '/cam/image_raw/compressed', bags.compressed),
        bags.every(100, '/rear/image_raw/compressed', bags.compressed),
    )
    assert sorted(made.parameters[name]['topic'] for name in made.parameters['cameras']) == sorted(
        [taken, '/rear/image_raw/compressed']
    )
    assert [note for note in made.notes if left in note] == [
        f'left out: {left}: it is the camera of {taken}, which is taken'
    ]


def turning(ms, *, gravity=9.8, degrees=1.0, rate=0.5):
    """An IMU that turns about z at ``rate`` rad/s, in units of its own."""
    message = bags.imu(ms)
    angle = rate * ms / 1000
    vector, quaternion = bags.T['geometry_msgs/msg/Vector3'], bags.T['geometry_msgs/msg/Quaternion']
    return dataclasses.replace(
        message,
        orientation=quaternion(0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2)),
        angular_velocity=vector(0.0, 0.0, rate * degrees),
        linear_acceleration=vector(0.0, 0.1 * gravity, gravity),
    )


DEGREES = 180 / math.pi


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({}, None),
        ({'rate': 0.0}, None),
        ({'rate': 6.0}, None),
        ({'gravity': 1.0}, 'seems to be in g, not m/s²: its median is 1.005'),
        ({'gravity': 1000.0}, 'seems to be in mg, not m/s²: its median is 1005'),
        ({'gravity': 0.0}, 'has a median of 0 m/s²; with gravity it would be near 9.8'),
        ({'degrees': DEGREES}, 'angular_velocity seems to be in degrees, not rad/s: it adds up to'),
        ({'degrees': DEGREES, 'rate': 1.0}, 'angular_velocity seems to be in degrees, not rad/s: it reaches 57.3'),
    ],
)
def test_an_imu_in_other_units_is_named_with_its_number(tmp_path, changes, words):
    made = made_from(tmp_path, bags.every(10, '/imu', lambda ms: turning(ms, **changes)))
    assert made.parameters['imus'] == ['imu']
    assert [words in note for note in made.notes] == ([True] if words else [])


def test_an_imu_that_does_not_measure_is_not_doubted(tmp_path):
    def silent(ms):
        covariance = np.array([-1.0, *[0.0] * 8])
        return dataclasses.replace(
            turning(ms, gravity=0.0, degrees=DEGREES),
            linear_acceleration_covariance=covariance,
            angular_velocity_covariance=covariance,
        )

    assert made_from(tmp_path, bags.every(10, '/imu', silent)).notes == ()


def test_a_topic_of_which_no_message_can_be_read_is_left_out_by_name(tmp_path):
    channels = [
        mcap_by_hand.Channel('/points', 'sensor_msgs/msg/PointCloud2'),
        mcap_by_hand.Channel('/imu', 'sensor_msgs/msg/Imu'),
    ]
    good = bytes(bags.STORE.serialize_cdr(bags.cloud(0), 'sensor_msgs/msg/PointCloud2'))
    messages = [(k, bags.START_NS + ms * bags.MS, (good, b'')[k]) for ms in range(0, 1000, 100) for k in (0, 1)]
    bag = open_bag(mcap_by_hand.write(tmp_path / 'a.mcap', channels, messages))
    made = config_from_bag(bag)
    assert 'imus' not in made.parameters
    assert 'left out: /imu: none of its 10 messages can be read' in made.notes


def test_a_bag_without_a_usable_topic_is_refused_by_name(tmp_path):
    with pytest.raises(BagError, match=r'/chatter \(std_msgs/msg/String\)'):
        made_from(tmp_path, bags.every(100, '/chatter', bags.text))


def test_the_yaml_is_a_ros_parameter_file(tmp_path):
    made = made_from(tmp_path, bags.every(100, '/points', bags.cloud))
    tree = yaml.safe_load(made.to_yaml('bag'))
    assert tree == {'/**/preprocess': {'ros__parameters': made.parameters}}


@pytest.mark.parametrize('message_type', SOURCES)
def test_a_proposed_stream_subscribes_to_the_type_that_it_was_proposed_for(tmp_path, message_type):
    make = {
        'sensor_msgs/msg/PointCloud2': bags.cloud,
        'sensor_msgs/msg/LaserScan': bags.laser_scan,
        'sensor_msgs/msg/MultiEchoLaserScan': lambda ms: multi_echo(ms, [[1.0]]),
        **{kind: lambda ms, kind=kind: livox(ms, np.ones((1, 3)), [0], kind) for kind in LIVOX},
        'sensor_msgs/msg/Image': bags.image,
        'sensor_msgs/msg/CompressedImage': bags.compressed,
        'sensor_msgs/msg/Imu': bags.imu,
    }[message_type]
    path = tmp_path / 'preprocess.yaml'
    bag = open_bag(bags.write(tmp_path / 'bag', bags.every(100, '/sensor', make)))
    path.write_text(config_from_bag(bag, types_in(bag)).to_yaml('bag'))
    pipeline, _ = parameters.from_file(path, warn=pytest.fail)
    assert [stream.message_type for stream in pipeline.streams()] == [message_type]
    assert isinstance(next(pipeline.streams()), GROUPS[SOURCES[message_type].group])


def test_a_type_that_is_not_installed_is_left_out_with_what_to_install(tmp_path):
    def missing(name):
        raise ConfigError(f'{name}: is not installed')

    images, messages = bags.every(100, '/cam/image_raw', bags.image), bags.every(20, '/odom', vectors.odometry)
    bag = open_bag(bags.write(tmp_path / 'bag', images + messages))
    made = config_from_bag(bag, missing)
    assert 'vectors' not in made.parameters
    left_out = made.remarks.left_out['/odom']
    assert (left_out.why, left_out.remedy) == ('nav_msgs/msg/Odometry: is not installed', 'install nav_msgs')
    assert config_from_bag(bag, types_in(bag)).parameters['vectors'] == ['odom'], 'what reads the bag alone has it'
