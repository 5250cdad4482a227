# SPDX-License-Identifier: Apache-2.0
"""Output topics of a node that stands in for one of rclpy."""

import types
from contextlib import ExitStack

import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import QoSPolicyKind
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Float64, UInt8MultiArray, UInt32
from support.runtime import FRONT, LIDAR, START_NS, Lines, SetClock

from robocache_core import payload
from robocache_core.config import DepthConfig, DepthVoxelConfig, GridConfig, LidarConfig, PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_core.units import MS
from robocache_ros.event_log import EventLog
from robocache_ros.local_frames import LocalFrames
from robocache_ros.metrics import Metrics
from robocache_ros.parameters import NodeConfig
from robocache_ros.publishers import Publishers
from robocache_ros.reporter import Load

ALL = NodeConfig(publish_voxels=True, publish_images=True)


class FakePublisher:
    def __init__(self, message, events):
        self.message = message
        self.events = events
        self.subscribers = 0
        self.sent = []

    def get_subscription_count(self):
        return self.subscribers

    def publish(self, message):
        assert isinstance(message, self.message)
        self.sent.append(message)


@pytest.fixture(autouse=True)
def _publish_serialized(monkeypatch):
    """What goes to rcl comes to the publisher that stands in."""
    monkeypatch.setattr(
        'robocache_ros.rcl.publish',
        lambda publisher, raw: publisher.publish(deserialize_message(bytes(raw), publisher.message)),
    )


class FakeNode:
    """Keeps its publishers by topic; its clock stands 30 ms after the start."""

    def __init__(self):
        self.publishers = {}

    def create_publisher(self, message, topic, profile, *, event_callbacks, qos_overriding_options):
        self.publishers[topic] = FakePublisher(message, event_callbacks)
        return self.publishers[topic]

    def destroy_publisher(self, publisher):
        self.publishers = {topic: each for topic, each in self.publishers.items() if each is not publisher}

    def resolve_topic_name(self, topic):
        return topic.replace('~', '/preprocess')

    def get_clock(self):
        now = types.SimpleNamespace(nanoseconds=START_NS + 30 * MS)
        return types.SimpleNamespace(now=lambda: now)


class Bench:
    def __init__(self, config, node_config=ALL):
        self.node, self.clock, self.undo = FakeNode(), SetClock(), ExitStack()
        self.metrics = Metrics([stream.name for stream in config.streams()], self.clock)
        self.local, self.lines = LocalFrames(), Lines()
        log = EventLog(self.lines, self.clock)
        self.publishers = Publishers(
            self.node, config, node_config, log, self.metrics, self.clock, self.local, self.undo
        )

    def subscribe(self, *topics):
        for topic in topics or self.node.publishers:
            self.node.publishers[topic].subscribers = 1

    def sent(self):
        return {topic: publisher.sent for topic, publisher in self.node.publishers.items() if publisher.sent}


CONFIG = PipelineConfig(lidars=(LIDAR,), cameras=(FRONT,))
OWN = {
    '~/fused': UInt8MultiArray,
    '~/debug/processing_time_ms': Float64,
    '~/debug/pipeline_latency_ms': Float64,
    '/diagnostics': DiagnosticArray,
    '~/queue_depth': UInt32,
    '~/backpressure': DiagnosticStatus,
}


def frame():
    tensors = {
        'lidar.coords': torch.tensor([[8, 9, 10]], dtype=torch.int32),
        'lidar.features': torch.tensor([[1.0, 0.25]]),
        'lidar.counts': torch.tensor([1], dtype=torch.int32),
        'front': torch.zeros(3, 4, 4),
    }
    return FusedFrame(
        stamp_ns=START_NS,
        epoch=0,
        sequence=0,
        frame_id='lidar',
        tensors=tensors,
        valid={'lidar': True, 'front': True},
        age_ns={'lidar': 0, 'front': 2 * MS},
        latency_ns={'lidar': MS},
    )


VIEWS = {'~/image/front': Image, '~/image/front/camera_info': CameraInfo}


@pytest.mark.parametrize(
    ('lidars', 'node_config', 'views'),
    [
        (('lidar',), ALL, {'~/voxels': PointCloud2, **VIEWS}),
        (
            ('top', 'rear'),
            ALL,
            {
                '~/voxels/top': PointCloud2,
                '~/voxels/rear': PointCloud2,
                '~/image/front': Image,
                '~/image/front/camera_info': CameraInfo,
            },
        ),
        ((), ALL, VIEWS),
        (('lidar',), NodeConfig(publish_voxels=True, publish_images=False), {'~/voxels': PointCloud2}),
        (('lidar',), NodeConfig(publish_voxels=False, publish_images=False), {}),
    ],
    ids=['one lidar', 'two lidars', 'no lidar', 'no images', 'no views'],
)
def test_which_topics_there_are(lidars, node_config, views):
    config = PipelineConfig(tuple(map(LidarConfig, lidars)), (FRONT,), target_frame='base_link')
    bench = Bench(config, node_config)
    assert {topic: each.message for topic, each in bench.node.publishers.items()} == OWN | views
    bench.undo.close()
    assert bench.node.publishers == {}


def test_a_grid_has_the_topic_as_a_depth_camera_with_voxels_and_its_lidars_have_none():
    lidars = tuple(map(LidarConfig, ('top', 'rear', 'low')))
    grids = (GridConfig('both', ('top', 'rear')),)
    depths = (DepthConfig('near', voxel=DepthVoxelConfig(output='dense')), DepthConfig('far'))
    bench = Bench(
        PipelineConfig(lidars, grids=grids, depths=depths, target_frame='base_link'),
        NodeConfig(publish_voxels=True, publish_images=False),
    )
    views = {f'~/voxels/{name}': PointCloud2 for name in ('low', 'both', 'near')}
    assert {topic: each.message for topic, each in bench.node.publishers.items()} == OWN | views


def test_a_frame_goes_to_every_topic_that_has_a_subscriber():
    bench = Bench(CONFIG)
    bench.subscribe()
    began_ns = bench.clock.steady_ns()
    bench.clock.advance(0.012)
    bench.publishers.publish(frame(), began_ns)
    sent = bench.sent()
    assert payload.decode(sent['~/fused'][0].data).stamp_ns == START_NS
    assert sent['~/voxels'][0].width == 1
    assert (sent['~/image/front'][0].width, sent['~/image/front'][0].encoding) == (4, 'rgb8')
    assert [message.data for message in sent['~/debug/processing_time_ms']] == pytest.approx([12.0])
    assert [message.data for message in sent['~/debug/pipeline_latency_ms']] == [30.0]
    assert not sent.keys() & {'/diagnostics', '~/queue_depth', '~/backpressure'}


def test_nothing_is_encoded_for_a_topic_without_a_subscriber(monkeypatch):
    bench = Bench(CONFIG)
    bench.subscribe('~/debug/pipeline_latency_ms')
    unusable = FusedFrame(START_NS, 0, 0, 'lidar', {}, {}, {}, {})  # no view can be made of it
    bench.publishers.publish(unusable, 0)
    assert list(bench.sent()) == ['~/debug/pipeline_latency_ms']
    assert bench.metrics.frames == 1


def test_every_frame_is_recorded():
    bench = Bench(CONFIG)
    bench.publishers.publish(frame(), 0)
    assert list(bench.metrics.latencies.recent) == [30 * MS]
    assert list(bench.metrics.inputs['front'].ages_ns) == [2 * MS]
    assert list(bench.metrics.output.arrivals_ns) == [bench.clock.now_ns]


def test_a_report_goes_to_its_topics():
    bench = Bench(CONFIG)
    bench.subscribe()
    report, status = DiagnosticArray(status=[DiagnosticStatus(name='preprocess: sync')]), DiagnosticStatus(name='load')
    bench.publishers.send(report)
    bench.publishers.send(Load(7, status))
    sent = bench.sent()
    assert sent == {'/diagnostics': [report], '~/queue_depth': [UInt32(data=7)], '~/backpressure': [status]}


def test_subscribers_of_the_fused_topic_are_counted():
    bench = Bench(CONFIG)
    assert bench.publishers.num_subscribers == 0
    bench.node.publishers['~/fused'].subscribers = 3
    assert bench.publishers.num_subscribers == 3


def test_a_subscriber_that_cannot_be_served_is_logged_and_recorded():
    bench = Bench(CONFIG)
    event = types.SimpleNamespace(last_policy_kind=QoSPolicyKind.DURABILITY, total_count=1)
    bench.node.publishers['~/fused'].events.incompatible_qos(event)
    (line,) = bench.lines.of('warning')
    assert line.startswith('/preprocess/fused: a subscriber asks for more than this node offers (durability')
    assert bench.metrics.output.incompatible_text == line
