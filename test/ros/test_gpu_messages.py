# SPDX-License-Identifier: Apache-2.0
"""Messages whose data a driver has left on a GPU, from ROS 2 Lyrical on: the bits of those on the host, without a copy.

A stand-in plays the package that gives the memory, and the CPU plays the GPU; on one, test/gpu has the same.
"""

import gc
import weakref

import pytest
from rclpy.serialization import serialize_message
from support import cuda_buffers, depths, lent_robot, played_gpu, whole_robot
from support.driving import assert_ledger
from support.lent_robot import Lent, fail_at_frame
from support.robot import LIDAR as PARAMETERS
from support.robot import Robot, cloud
from support.runtime import FRONT, IMU, LIDAR, assert_adds_up, image, imu, make
from support.runtime import cloud as scan

from robocache_core import payload
from robocache_core.config import CameraConfig, ConfigError, DepthConfig, LidarConfig, PipelineConfig
from robocache_core.device import Device
from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_core.samples import DataError
from robocache_ros import rclpy_private
from robocache_ros.decode_depth import decode_depth
from robocache_ros.message import Deserialized, Serialized
from robocache_ros.message_data import view_bytes
from robocache_ros.node import PreprocessNode

installed, expected = lent_robot.installed, lent_robot.expected


# ---- the pipeline ----------------------------------------------------------------------------------------------------


def test_a_gpu_reads_them_where_they_are(monkeypatch, expected):
    pipeline, lent = Pipeline(whole_robot.config()), Lent()
    pipeline.device = gpu = played_gpu.play(monkeypatch)
    assert lent.outcome(pipeline) == expected
    assert pipeline.device is gpu
    for name in ('rear', 'front'):
        assert any(buffer.streams for buffer in lent.buffers[name])
        assert not any(buffer.copies for buffer in lent.buffers[name]), name
    # The times of the points are read on the host, of each scan once however many read them.
    assert {buffer.copies for buffer in lent.buffers['top']} == {1}
    assert {stream for buffer in lent.all for stream in buffer.streams} == {played_gpu.Stream.cuda_stream}
    assert {device for buffer in lent.all for device in buffer.devices} == {gpu.torch_device}


def test_the_cpu_copies_each_that_it_uses_once(expected):
    pipeline, lent = Pipeline(whole_robot.config()), Lent()
    assert lent.outcome(pipeline) == expected
    for name, buffers in lent.buffers.items():
        assert sum(buffer.copies for buffer in buffers) >= pipeline.ledger[name].counts().used
        assert {buffer.copies for buffer in buffers} <= {0, 1}
        assert not any(buffer.streams for buffer in buffers)


def test_they_are_borrowed_while_there_is_a_view_of_them(monkeypatch):
    gpu, buffer = played_gpu.play(monkeypatch), cuda_buffers.filled(b'abc')
    gpu.begin_frame()
    there = gpu.upload(view_bytes(buffer))
    assert there.data_ptr() == buffer.memory.data_ptr()
    part = there[1:]
    del there
    gpu.synchronize()
    assert len(buffer.open) == 1, 'what views a frame may read them'
    assert part.tolist() == [*b'bc']
    del part
    assert buffer.devices == [gpu.torch_device]
    buffer.recycle()


def test_the_default_stream_has_a_pointer_that_means_nothing_else(monkeypatch):
    played_gpu.play(monkeypatch)
    buffer = cuda_buffers.filled(b'abc')
    with view_bytes(buffer).lend(0) as address:
        assert address == buffer.memory.data_ptr()
    assert buffer.streams == [1]


def test_memory_without_an_address_is_lost_and_given_back(monkeypatch):
    played_gpu.play(monkeypatch)
    buffer = cuda_buffers.filled(b'abc')

    def fail(handle):
        raise RuntimeError('it failed')

    monkeypatch.setattr(cuda_buffers.ReadHandle, 'device_ptr', property(fail))
    text = 'its bytes cannot be read on the GPU: it failed'
    with pytest.raises(DataError, match=text) as caught, view_bytes(buffer).lend(77):
        pass
    assert caught.value.reason is Reason.GPU_MEMORY_LOST
    buffer.recycle()


def test_a_gpu_that_fails_costs_no_frame_while_they_can_be_copied(monkeypatch, expected):
    pipeline, lent = Pipeline(whole_robot.config()), Lent()
    pipeline.device = fail_at_frame(played_gpu.play(monkeypatch), 4)
    assert lent.outcome(pipeline) == expected
    assert type(pipeline.device) is Device


def test_what_went_with_a_gpu_is_dropped_by_name(monkeypatch, expected):
    pipeline, lent, refused = Pipeline(whole_robot.config()), Lent(), []
    pipeline.on_refused = lambda name, reason, text: refused.append((name, reason, text))

    def lose():
        for buffer in lent.all:
            buffer.is_lost = True

    pipeline.device = fail_at_frame(played_gpu.play(monkeypatch), 5, lose)
    digests, counts = lent.outcome(pipeline)
    assert digests[:4] == expected[0][:4]
    assert len(digests) < 10
    assert counts['front'].dropped[Reason.GPU_MEMORY_LOST] >= 1
    assert pipeline.targets.counts().dropped[Reason.GPU_MEMORY_LOST.of_stream('front')] >= 1
    assert ('front', Reason.GPU_MEMORY_LOST) in {each[:2] for each in refused}
    text = 'its bytes cannot be copied from the GPU: an illegal memory access was encountered'
    assert text in {each[2] for each in refused}
    assert 'internal_error' not in pipeline.targets.counts().dropped


def test_what_a_driver_took_back_costs_itself_alone(monkeypatch):
    found = []
    for is_lost in (False, True):
        pipeline, lent = Pipeline(whole_robot.config()), Lent()
        pipeline.device = gpu = played_gpu.play(monkeypatch)
        frames = []
        pipeline.set_camera_info('front', whole_robot.INFO)
        for event in whole_robot.events():
            lent.samples.push(pipeline, *event)
            if event[:2] == ('rear', 303):
                lent.buffers['rear'][-1].is_lost = is_lost
            frames += pipeline.poll()
        assert pipeline.device is gpu
        assert_ledger(pipeline)
        found.append(({frame.stamp_ns: frame for frame in frames}, pipeline.ledger['rear'].counts().dropped))
    (whole, before), (without, after) = found
    assert whole.keys() == without.keys()
    differing = [stamp for stamp in whole if payload.digest(whole[stamp]) != payload.digest(without[stamp])]
    (stamp,) = differing
    assert (whole[stamp].valid['rear'], without[stamp].valid['rear']) == (True, False)
    assert after == before | {Reason.GPU_MEMORY_LOST: 1}


@pytest.mark.parametrize('computes', [True, False])
def test_a_driver_has_its_buffers_back_once_nothing_is_held(monkeypatch, computes):
    pipeline, lent = Pipeline(whole_robot.config()), Lent()
    pipeline.device = played_gpu.play(monkeypatch)
    pipeline.computes = computes
    lent.outcome(pipeline)
    pipeline.clear(Reason.DEACTIVATED)
    left = [weakref.ref(buffer) for buffer in lent.all]
    lent.buffers.clear()
    gc.collect()
    assert [each() for each in left] == [None] * 36


def test_a_depth_image_without_a_distance_is_described_as_on_the_host(monkeypatch):
    config = DepthConfig('depth', width=8, height=6)
    found = []
    for lends in (False, True):
        pipeline = Pipeline(PipelineConfig(depths=(config,)))
        pipeline.device = played_gpu.play(monkeypatch)
        message = depths.depth_image(0, depths.scene() * 0 + 60_000)
        if lends:
            message = With(message, data=cuda_buffers.filled(message.data))
        pipeline.receive('depth')
        pipeline.push('depth', decode_depth(message, config))
        (frame,) = pipeline.poll()
        found.append((payload.digest(frame), pipeline.without_depth.distances))
    assert found[0] == found[1]
    assert '60 m' in found[0][1]['depth']


# ---- the runtime -----------------------------------------------------------------------------------------------------


class With:
    """A message with another value for a field: the classes before Lyrical take no ``Buffer``."""

    def __init__(self, message, **fields):
        self.__dict__.update(fields)
        self._message = message

    def __getattr__(self, name):
        return getattr(self._message, name)


def on_gpu(message):
    return With(message, data=cuda_buffers.filled(message.data))


def on_gpu_as_taken(message):
    return Deserialized(on_gpu(message))


def test_an_object_is_taken_in_as_its_bytes_are():
    """By the same name of its frame, the same stamp, and the bytes of its data alone."""
    robot = PipelineConfig(lidars=(LIDAR,), cameras=(FRONT,), imus=(IMU,))
    found = []
    for form in (lambda message: Serialized(serialize_message(message)), on_gpu_as_taken):
        bench = make(robot, record_ns=10**10)
        for ms in range(0, 1000, 10):
            bench.clock.advance(0.01)
            bench.put('imu', imu(ms))
            for name, each in (('front', image(ms)), ('lidar', scan(ms))):
                if ms % 100 == 0:
                    bench.runtime.put(name, form(each))
            bench.work()
            assert_adds_up(bench.runtime)
        inputs = {n: (vars(r.frames), r.gaps.missing, r.delay_ns) for n, r in bench.runtime.metrics.inputs.items()}
        found.append(([payload.digest(frame) for frame in bench.frames], inputs, bench.log.lines))
    assert len(found[0][0]) == 9
    assert found[0] == found[1]


def test_their_data_count_against_the_bounds_of_the_inbox():
    bench = make(PipelineConfig(lidars=(LIDAR,)))
    message = scan(0)
    bench.runtime.put('lidar', on_gpu_as_taken(message))
    assert bench.runtime.inboxes.levels()['lidar'].nbytes == len(message.data)


def test_what_is_wrong_with_one_is_found_without_a_copy():
    bench = make(PipelineConfig(lidars=(LIDAR,)))
    wrong = {'width': ('empty_cloud', 0), 'row_step': ('row_step_too_small', 1), 'height': ('data_too_short', 1000)}
    buffers = []
    for number, (field, (_, value)) in enumerate(wrong.items()):
        message = on_gpu(scan(100 * number))
        buffers.append(message.data)
        bench.runtime.put('lidar', Deserialized(With(message, **{field: value})))
    bench.work()
    dropped = bench.runtime.pipeline.ledger['lidar'].counts().dropped
    assert dropped == {reason: 1 for reason, _ in wrong.values()}
    assert not any(buffer.copies for buffer in buffers)


# ---- the node --------------------------------------------------------------------------------------------------------


class LyricalNode(PreprocessNode):
    """A node whose rclpy takes the argument of Lyrical's."""

    asked = None

    def create_subscription(self, *args, acceptable_buffer_backends=None, **kwargs):
        if acceptable_buffer_backends:
            self.asked = (args[1], acceptable_buffer_backends, kwargs.get('raw', False))
        return super().create_subscription(*args, **kwargs)


def play_lyrical(monkeypatch, *, has_gpu=True):
    """Messages that are taken as objects have their data on the GPU; a device on the CPU says it has one."""
    take, taken = rclpy_private.take_message, []

    def take_from_gpu(subscription):
        found = take(subscription)
        if found is None:
            return None
        taken.append(on_gpu(found.message.message))
        return found._replace(message=Deserialized(taken[-1]))

    monkeypatch.setattr('support.robot.PreprocessNode', LyricalNode)
    monkeypatch.setattr(rclpy_private, 'take_message', take_from_gpu)
    monkeypatch.setattr(Device, 'reads_gpu_bytes', has_gpu)
    return taken


def through_the_node(**parameters):
    with Robot(**PARAMETERS, **parameters) as robot:
        robot.bring_up()
        for ms in range(0, 500, 100):
            robot.deliver('lidar', cloud(ms))
        robot.until(lambda: len(robot.frames) == 5, 'the frames')
        record = robot.node.runtime.metrics.inputs['lidar']
        assert record.transports.histogram().count == 5
        return [payload.digest(frame) for frame in robot.frames], getattr(robot.node, 'asked', None)


def test_the_node_asks_for_them_where_it_computes_on_a_gpu(monkeypatch):
    expected, _ = through_the_node()
    taken = play_lyrical(monkeypatch)
    digests, asked = through_the_node(lidar__memory='cuda')
    assert asked == ('/lidar', 'cuda', False)
    assert digests == expected
    assert [message.data.copies for message in taken] == [1] * 5


@pytest.mark.parametrize(('memory', 'has_gpu'), [('cpu', True), ('cuda', False)])
def test_else_it_takes_them_serialized(monkeypatch, memory, has_gpu):
    taken = play_lyrical(monkeypatch, has_gpu=has_gpu)
    _, asked = through_the_node(lidar__memory=memory)
    assert asked is None
    assert taken == []


def test_a_ros_that_has_none_refuses_to_ask_for_them(monkeypatch):
    with Robot(**PARAMETERS, lidar__memory='cuda') as robot:
        robot.node.trigger_configure()
        text = "lidar.memory = 'cuda': must be cpu before ROS 2 Lyrical: rclpy has no acceptable_buffer_backends"
        robot.until(lambda: text in refusal(robot), 'the refusal')
    play_lyrical(monkeypatch)
    monkeypatch.setattr('robocache_ros.message_data.CudaBuffer', None)
    with Robot(**PARAMETERS, lidar__memory='cuda') as robot:
        robot.node.trigger_configure()
        text = "lidar.memory = 'cuda': needs the package cuda_buffer_py, which is not installed"
        robot.until(lambda: text in refusal(robot), 'the refusal')


def refusal(robot):
    return ' '.join(status.message for status in robot.statuses.values())


@pytest.mark.parametrize(
    ('config', 'kind'),
    [
        (lambda: PipelineConfig(lidars=(LidarConfig('scan', message='LaserScan', memory='cuda'),)), 'LaserScan'),
        (
            lambda: PipelineConfig(cameras=(CameraConfig('front', topic='/a/compressed', memory='cuda'),)),
            'CompressedImage',
        ),
        (
            lambda: PipelineConfig(depths=(DepthConfig('depth', message='compressed', memory='cuda'),)),
            'CompressedImage',
        ),
    ],
)
def test_what_is_read_on_the_host_cannot_be_asked_for_on_a_gpu(config, kind):
    with pytest.raises(ConfigError, match=f"memory = 'cuda': must be cpu for {kind}, which is read on the host"):
        config()
