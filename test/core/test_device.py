# SPDX-License-Identifier: Apache-2.0
"""Where a pipeline computes, and that nothing is lost when a GPU fails; a GPU is played by the CPU here."""

import types

import pytest
import torch
from support import played_gpu, whole_robot
from support.driving import assert_ledger

from robocache_core import backends, host_memory, ops, payload
from robocache_core.config import ComputeConfig
from robocache_core.device import CudaDevice, Device, choose_device
from robocache_core.frame import WAITS
from robocache_core.pipeline import Pipeline
from robocache_core.streams.base import FrameDraft
from robocache_core.tunable import ConfigError

NO_GPU = 'there is no GPU: torch.cuda.is_available() is False'


@pytest.fixture(scope='module')
def expected():
    """Digests of the frames, and the pipeline, of the CPU, which has kept whom it refused in ``told``."""
    pipeline = Pipeline(whole_robot.config())
    pipeline.told = []
    pipeline.on_refused = lambda *args: pipeline.told.append(args)
    digests = [payload.digest(frame) for frame in whole_robot.frames(pipeline)]
    assert len(digests) == 10  # scans of NaN cost two
    return digests, pipeline


@pytest.fixture
def gpu(monkeypatch):
    return played_gpu.play(monkeypatch)


def assert_same(pipeline, frames, expected):
    """The same bits, the same ledger, and a sequence without a gap."""
    digests, other = expected
    assert [payload.digest(frame) for frame in frames] == digests
    assert [frame.sequence for frame in frames] == list(range(len(frames)))
    assert {name: account.counts() for name, account in pipeline.ledger.items()} == {
        name: account.counts() for name, account in other.ledger.items()
    }
    assert pipeline.targets.counts() == other.targets.counts()
    assert pipeline.points_dropped == other.points_dropped
    assert_ledger(pipeline)


def test_the_default_dtype_of_torch_does_not_matter(expected, float64_by_default):
    pipeline = Pipeline(whole_robot.config())
    assert_same(pipeline, whole_robot.frames(pipeline), expected)


# ---- the choice ------------------------------------------------------------------------------------------------------


class Gpus:
    """What ``choose_device`` asks torch and the compiled module of."""

    def __init__(self, patch, count, uploader=object):
        patch.setattr(torch.cuda, 'is_available', lambda: count > 0)
        patch.setattr(torch.cuda, 'device_count', lambda: count)
        patch.setattr(torch.cuda, 'current_device', lambda: count - 1)
        patch.setattr(torch.cuda, 'get_device_name', 'GPU {}'.format)
        patch.setattr(CudaDevice, '_bytes', lambda self, size: torch.empty(size, dtype=torch.uint8))
        module = types.SimpleNamespace(Uploader=uploader)
        patch.setattr(backends, 'cuda', lambda: types.SimpleNamespace(module=module))
        #: Modules and GPUs by which memory of the host was pinned.
        self.pinned = []
        patch.setattr(host_memory, 'pin', lambda *args: self.pinned.append(args))


def test_the_cpu_is_taken_where_it_is_asked_for_or_nothing_else_is_there(monkeypatch):
    Gpus(monkeypatch, 0)
    for wanted, reason in (('cpu', 'compute.device = cpu'), ('auto', f'compute.device = auto: {NO_GPU}')):
        device, fault = choose_device(wanted)
        assert (type(device), str(device), device.reason, fault) == (Device, 'cpu', reason, None)


def test_a_gpu_is_taken_by_its_index(monkeypatch):
    gpus = Gpus(monkeypatch, 2, uploader=lambda index: index)
    for wanted, index in (('auto', 1), ('cuda', 1), ('cuda:0', 0)):
        device, fault = choose_device(wanted)
        assert gpus.pinned[-1] == (backends.cuda().module, index)
        assert (str(device), device._uploader, fault) == (f'cuda:{index}', index, None)
        assert device.reason == f'compute.device = {wanted}: GPU {index}'


def refuse(*_, **__):
    raise RuntimeError('no memory\nConsider this and that')


@pytest.mark.parametrize(
    ('wanted', 'count', 'uploader', 'reason'),
    [
        ('cuda', 0, object, NO_GPU),
        ('cuda:1', 0, object, NO_GPU),
        ('cuda:2', 2, object, 'there are 2 GPUs, counted from 0'),
        ('cuda:0', 2, refuse, 'RuntimeError: no memory'),
        ('auto', 2, refuse, 'RuntimeError: no memory'),
    ],
)
def test_a_gpu_that_cannot_be_had_is_a_fault_and_the_frames_come_from_the_cpu(
    monkeypatch, expected, wanted, count, uploader, reason
):
    with monkeypatch.context() as patch:
        Gpus(patch, count, uploader)
        pipeline = Pipeline(whole_robot.config(wanted))
    assert pipeline.device_fault == pipeline.device.reason == f'compute.device = {wanted}: {reason}'
    assert type(pipeline.device) is Device
    assert_same(pipeline, whole_robot.frames(pipeline), expected)


def test_a_build_without_cuda_is_told(monkeypatch):
    Gpus(monkeypatch, 1)
    monkeypatch.setattr(backends, 'cuda', lambda: refuse())
    assert choose_device('auto')[1] is None
    assert 'no memory' in choose_device('cuda')[1]


@pytest.mark.parametrize('wanted', ['gpu', 'cuda:', 'cuda:-1', 'cuda:x', '', 'CPU', 'cuda:0\n'])
def test_a_device_that_cannot_be_is_refused(wanted):
    with pytest.raises(ConfigError, match=r'device = .*must be auto, cpu, cuda or cuda:<i>'):
        ComputeConfig(device=wanted)


# ---- failures --------------------------------------------------------------------------------------------------------


class GpuError(RuntimeError):
    """As the compiled module raises it."""


class FailingDevice(Device):
    """The CPU as a GPU of which a method fails from the ``good``-th call on."""

    def __init__(self, method, good, error):
        super().__init__('plays a GPU')
        self._method, self._good, self._error = method, good, error
        self.touched = 0
        self.failed = False

    def _note(self, method):
        self.touched += self.failed
        if method == self._method:
            self._good -= 1
            if self._good < 0:
                self.failed = True
                raise self._error('out of order\nmore lines')

    def has_failed(self, error):
        return isinstance(error, (GpuError, torch.cuda.OutOfMemoryError, torch.AcceleratorError))

    def begin_frame(self):
        self._note('begin_frame')

    def upload(self, tensor):
        self._note('upload')
        return tensor.clone()

    def keep(self, tensor):
        self._note('keep')
        return tensor.clone()

    def constant(self, tensor):
        self._note('constant')
        return tensor.clone()

    def record_stage(self, stage):
        self._note(f'stage {stage}')

    def synchronize(self, voxels=()):
        self._note('synchronize')

    def stage_ns(self):
        self._note('stage_ns')
        return {}

    def memory(self):
        self._note('memory')
        return {'allocated': 1}


@pytest.mark.parametrize('error', [GpuError, torch.cuda.OutOfMemoryError, torch.AcceleratorError])
@pytest.mark.parametrize(
    ('method', 'good'),
    [
        *(('begin_frame', 0), ('begin_frame', 5)),
        *(('upload', 0), ('upload', 3), ('upload', 17), ('constant', 2)),
        *(('stage upload', 4), ('stage rear', 1), ('keep', 9), ('stage imu', 3)),
        *(('synchronize', 0), ('synchronize', 7), ('stage_ns', 2)),
    ],
)
def test_whatever_fails_the_frames_are_those_of_the_cpu(expected, method, good, error):
    pipeline = Pipeline(whole_robot.config())
    pipeline.device = failing = FailingDevice(method, good, error)
    said, refused = [], []
    pipeline.on_degraded = said.append
    pipeline.on_refused = lambda *args: refused.append(args)
    assert_same(pipeline, whole_robot.frames(pipeline), expected)
    assert said == [pipeline.device_fault] == [f'cpu failed: {error.__name__}: out of order']
    assert type(pipeline.device) is Device
    assert failing.touched == 0, 'a device that failed was touched again'
    assert refused == expected[1].told, 'a bad sample is told once, however often its frame is computed'


def test_a_launch_that_fails_in_the_middle_of_a_frame(monkeypatch, expected):
    pipeline = Pipeline(whole_robot.config())
    pipeline.device = FailingDevice('', 0, GpuError)
    modules = [backends.for_device(pipeline.device.torch_device)] * 9

    class Broken:
        def __getattr__(self, name):
            raise GpuError(f'{name}: an illegal memory access was encountered')

    modules.append(Broken())
    working = modules[0]
    monkeypatch.setattr(backends, 'for_device', lambda device: modules.pop(0) if modules else working)
    assert_same(pipeline, whole_robot.frames(pipeline), expected)
    assert 'illegal memory access' in pipeline.device_fault


def test_a_fault_of_the_code_is_not_taken_for_one_of_the_device(monkeypatch):
    pipeline = Pipeline(whole_robot.config())
    pipeline.device = FailingDevice('', 0, GpuError)
    monkeypatch.setattr(ops, 'voxelize_sparse', lambda *args, **kwargs: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        whole_robot.frames(pipeline)
    assert pipeline.device_fault is None
    assert pipeline.targets.counts().dropped['internal_error'] == 1
    assert_ledger(pipeline)


def test_a_failure_on_the_way_to_the_host_costs_no_frame(monkeypatch, expected):
    pipeline = Pipeline(whole_robot.config(), on_host=lambda: True)
    pipeline.device = FailingDevice('', 0, GpuError)
    brought = []

    def bring(draft):
        brought.append(draft)
        if len(brought) == 4:
            raise GpuError('the copy failed')

    monkeypatch.setattr(FrameDraft, 'bring_to_host', bring)
    assert_same(pipeline, whole_robot.frames(pipeline), expected)
    assert 'the copy failed' in pipeline.device_fault


@pytest.mark.parametrize('error', [RuntimeError('DefaultCPUAllocator: cannot allocate memory'), ValueError('odd')])
def test_an_error_of_the_host_leaves_a_gpu_that_answers(gpu, error):
    assert not gpu.has_failed(error)


def test_a_gpu_that_does_not_answer_has_failed(gpu, monkeypatch):
    monkeypatch.setattr(gpu, '_bytes', refuse)
    assert gpu.has_failed(RuntimeError('CUDA error: unspecified launch failure'))
    assert not gpu.has_failed(ValueError('odd'))
    monkeypatch.undo()
    assert gpu.has_failed(torch.cuda.OutOfMemoryError('no room'))
    assert gpu.has_failed(torch.AcceleratorError('an illegal memory access was encountered'))


def test_an_error_on_the_cpu_is_nobody_elses(monkeypatch):
    pipeline = Pipeline(whole_robot.config())
    monkeypatch.setattr(ops, 'voxelize_sparse', refuse)
    with pytest.raises(RuntimeError, match='no memory'):
        whole_robot.frames(pipeline)
    assert pipeline.device_fault is None


def test_a_gpu_that_cannot_tell_its_memory_has_failed():
    pipeline = Pipeline(whole_robot.config())
    pipeline.device = FailingDevice('memory', 1, GpuError)
    assert pipeline.device_memory() == {'allocated': 1}
    assert pipeline.device_memory() == {}
    assert pipeline.device_fault == 'cpu failed: GpuError: out of order'


# ---- a GPU whose memory is the CPU's --------------------------------------------------------------------------------


def test_frames_come_through_the_arena_and_none_of_them_lies_in_it(gpu, expected, monkeypatch):
    pipeline = Pipeline(whole_robot.config())
    pipeline.device = gpu
    begin_frame = gpu.begin_frame

    def begin_frame_anew():
        gpu._arena.fill_(0xA5)  # as the uploads of another frame would
        begin_frame()

    monkeypatch.setattr(gpu, 'begin_frame', begin_frame_anew)
    frames = whole_robot.frames(pipeline)
    gpu._arena.fill_(0xA5)
    assert pipeline.device_fault is None
    assert gpu._uploader.calls > 40
    assert_same(pipeline, frames, expected)
    assert {'decode' in frame.latency_ns for frame in frames} == {True, False}, 'not all have a compressed image'
    for frame in frames:
        assert {*frame.latency_ns, 'decode', 'download'} == {'top', 'rear', 'front', 'back', 'imu', *WAITS}
    for frame in frames:  # from mark to mark
        assert frame.latency_ns.pop('upload') == 5_000_000, 'one for each stream'
        assert set(frame.latency_ns.values()) == {1_000_000}
