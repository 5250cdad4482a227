# SPDX-License-Identifier: Apache-2.0
"""The pipeline on a GPU: the CPU's bits, one wait a frame, flat memory, and no frame lost when it fails."""

import array
import dataclasses
import gc
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch
from support import on_gpu, whole_robot
from support.driving import assert_ledger

from robocache_core import GridConfig, backends, payload
from robocache_core.device import CudaDevice, Device
from robocache_core.frame import WAITS
from robocache_core.pipeline import Pipeline

TESTS = Path(__file__).parents[1]


def frames_of(device, num_frames=12):
    pipeline = Pipeline(whole_robot.config(device))
    return pipeline, whole_robot.frames(pipeline, num_frames)


def digests_of(frames):
    return [payload.digest(frame) for frame in frames]


@pytest.fixture(scope='module')
def expected():
    pipeline, frames = frames_of('cpu')
    assert len(frames) == 10
    return digests_of(frames), pipeline


def assert_same(pipeline, frames, expected):
    digests, other = expected
    assert digests_of(frames) == digests
    assert [frame.sequence for frame in frames] == list(range(len(frames)))
    for name, account in pipeline.ledger.items():
        assert account.counts() == other.ledger[name].counts(), name
    assert pipeline.targets.counts() == other.targets.counts()
    assert pipeline.points_dropped == other.points_dropped
    assert_ledger(pipeline)


# ---- bits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('device', ['auto', 'cuda', 'cuda:0'])
def test_frames_have_the_bits_of_the_cpu_and_stay_on_the_gpu(expected, device):
    pipeline, frames = frames_of(device)
    assert isinstance(pipeline.device, CudaDevice)
    assert pipeline.device_fault is None
    assert pipeline.device.backend.name == 'cuda'
    assert all(tensor.is_cuda for frame in frames for tensor in frame.tensors.values())
    assert_same(pipeline, frames, expected)


@pytest.mark.parametrize('output', ['sparse', 'dense'])
@pytest.mark.parametrize('deskew', [False, True])
def test_each_output_with_and_without_deskewing(output, deskew):
    digests = []
    for device in ('cpu', 'cuda'):
        whole = whole_robot.config(device)
        top = dataclasses.replace(whole.lidars[0], voxel=dataclasses.replace(whole.lidars[0].voxel, output=output))
        if not deskew:
            top = dataclasses.replace(top, deskew=dataclasses.replace(top.deskew, source='none'))
        pipeline = Pipeline(dataclasses.replace(whole, lidars=(top, whole.lidars[1])))
        digests.append(digests_of(whole_robot.frames(pipeline)))
        assert pipeline.device_fault is None
    assert len(digests[0]) == 10
    assert digests[0] == digests[1]


@pytest.mark.parametrize('output', ['sparse', 'dense'])
def test_a_grid_of_two_lidars(output):
    """One of them deskewed, one not, of which some scans are bad and some missing."""
    found = []
    for device in ('cpu', 'cuda'):
        whole = whole_robot.config(device)
        voxel = dataclasses.replace(whole.lidars[0].voxel, output=output)
        lidars = tuple(dataclasses.replace(each, voxel=voxel, required=False) for each in whole.lidars)
        grids = (GridConfig('both', ('rear', 'top'), voxel),)
        pipeline = Pipeline(dataclasses.replace(whole, lidars=lidars, grids=grids))
        frames = whole_robot.frames(pipeline)
        assert pipeline.device_fault is None
        assert len(frames) >= 10
        assert {frame.valid['top'] for frame in frames} == {True, False}
        assert all(frame.tensors[name].device.type == device for frame in frames for name in frame.tensors)
        found.append((digests_of(frames), pipeline.points_dropped, pipeline.left_out, pipeline.without_voxels))
    assert found[0] == found[1]


def test_a_missing_stream_is_blank_on_the_gpu():
    found = []
    for device in ('cpu', 'cuda'):
        whole = whole_robot.config(device)
        cameras = tuple(dataclasses.replace(camera, required=False) for camera in whole.cameras)
        pipeline = Pipeline(dataclasses.replace(whole, cameras=cameras))
        events = [event for event in whole_robot.events() if event[0] not in ('front', 'back', 'rear')]
        frames = whole_robot.ROBOT.feed(pipeline, *events)
        assert frames
        assert not any(frame.valid['front'] or frame.valid['rear'] for frame in frames)
        assert {tensor.device.type for frame in frames for tensor in frame.tensors.values()} == {device}
        found.append(digests_of(frames))
    assert found[0] == found[1]


def test_a_frame_on_a_gpu_is_written_as_one_on_the_cpu():
    _, (frame, *_) = frames_of('cuda', 3)
    on_cpu = dataclasses.replace(frame, tensors={name: tensor.cpu() for name, tensor in frame.tensors.items()})
    written = payload.encode(on_cpu)
    assert payload.encode(frame) == written
    assert payload.write(frame, bytearray) == written
    assert payload.write(frame, lambda size: array.array('B', bytes(size))).tobytes() == written


# ---- time ------------------------------------------------------------------------------------------------------------


def test_stages_are_timed_by_the_gpus_clock():
    _, frames = frames_of('cuda')
    for frame in frames[2:]:
        assert {*frame.latency_ns, 'decode', 'download'} == {*WAITS, 'top', 'rear', 'front', 'back', 'imu'}
        assert all(0 < span < 1e9 for span in frame.latency_ns.values()), frame.latency_ns


def steady(device='cuda', warm_up=20):
    """A pipeline that has computed a few frames, and what gives one more."""
    pipeline = Pipeline(whole_robot.config(device))
    pipeline.set_camera_info('front', whole_robot.INFO)
    ms = iter(range(100, 10**9, 100))
    for reading in range(0, 100, 10):
        whole_robot.ROBOT.push(pipeline, 'imu', reading)

    def one_more():
        """Push until a target is ready, that of the step before: its IMU readings are there now."""
        now = next(ms)
        for name in ('top', 'rear', 'front', 'back'):
            whole_robot.ROBOT.push(pipeline, name, now)
        for reading in range(now, now + 100, 10):
            whole_robot.ROBOT.push(pipeline, 'imu', reading)

    one_more()
    for _ in range(warm_up):
        one_more()
        assert len(pipeline.poll()) == 1
    assert pipeline.device_fault is None
    return pipeline, one_more


def test_a_frame_waits_once():
    pipeline, one_more = steady()
    for _ in range(5):
        one_more()
        torch.cuda.set_sync_debug_mode('warn')
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter('always')
                (frame,) = pipeline.poll()
        finally:
            torch.cuda.set_sync_debug_mode('default')
        waits = [str(w.message) for w in caught if 'synchroniz' in str(w.message)]
        assert len(waits) == 1, waits
        assert frame.valid['top']


def test_uploads_and_launches_do_not_wait():
    pipeline, one_more = steady()
    for _ in range(5):
        one_more()
        assert len(on_gpu.poll_without_waits(pipeline)) == 1
    assert pipeline.device_fault is None


def test_memory_is_flat():
    pipeline, one_more = steady()
    gc.collect()  # what other tests left is not ours
    before = None
    for _ in range(50):
        one_more()
        pipeline.poll()
        stats = torch.cuda.memory_stats()
        now = {
            'allocated': torch.cuda.memory_allocated(),
            'reserved': torch.cuda.memory_reserved(),
            'cudaMalloc': stats['num_device_alloc'],
            'free': torch.cuda.mem_get_info()[0],  # of the compiled module's memory too
        }
        before = before or now
        assert now == before
    assert pipeline.device_fault is None


# ---- two of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('devices', [('cuda:0', 'cuda:0'), ('cuda:0', 'cuda:1')])
def test_two_pipelines_in_threads(expected, devices):
    if torch.cuda.device_count() < len(set(devices)):
        pytest.skip(f'needs two GPUs, there is {torch.cuda.device_count()}')
    found = {}

    def run(number, device):
        for _ in range(3):
            found[number] = frames_of(device)

    threads = [threading.Thread(target=run, args=item) for item in enumerate(devices)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, device in enumerate(devices):
        pipeline, frames = found[number]
        assert pipeline.device_fault is None
        assert {str(tensor.device) for frame in frames for tensor in frame.tensors.values()} == {device}
        assert_same(pipeline, frames, expected)


# ---- failures --------------------------------------------------------------------------------------------------------


def fail_after(method, good, error):
    """``method``, which works ``good`` times."""
    left = [good]

    def failing(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise error('out of order')
        return method(*args, **kwargs)

    return failing


class NoAnswer(RuntimeError):
    """Of no type that speaks of a GPU, as in older versions of torch; the GPU answers no more."""


def without_memory(device, asked, error):
    """What is answered to ``asked(error)`` by a device that has no memory to give."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, '_bytes', fail_after(None, 0, NoAnswer))
        return asked(error)


@pytest.mark.parametrize('error', [torch.cuda.OutOfMemoryError, NoAnswer])
@pytest.mark.parametrize(
    'method', ['begin_frame', 'upload', 'keep', 'constant', 'record_stage', 'synchronize', 'stage_ns']
)
@pytest.mark.parametrize('good', [0, 5])
def test_whatever_fails_no_frame_is_lost(expected, monkeypatch, method, good, error):
    pipeline = Pipeline(whole_robot.config('cuda'))
    if error is NoAnswer:
        asked = pipeline.device.has_failed
        monkeypatch.setattr(pipeline.device, 'has_failed', lambda error: without_memory(pipeline.device, asked, error))
    monkeypatch.setattr(pipeline.device, method, fail_after(getattr(pipeline.device, method), good, error))
    frames = whole_robot.frames(pipeline)
    assert type(pipeline.device) is Device
    assert pipeline.device_fault == f'cuda:0 failed: {error.__name__}: out of order'
    assert_same(pipeline, frames, expected)


def test_an_error_that_is_not_the_gpus_is_raised(monkeypatch):
    pipeline = Pipeline(whole_robot.config('cuda'))
    monkeypatch.setattr(pipeline.device, 'upload', fail_after(pipeline.device.upload, 5, RuntimeError))
    with pytest.raises(RuntimeError, match='out of order'):
        whole_robot.frames(pipeline)
    assert pipeline.device_fault is None


def test_a_launch_that_fails(expected, monkeypatch):
    module = backends.cuda().module
    working, failing = module.prepare_image, fail_after(module.prepare_image, 7, module.GpuError)
    monkeypatch.setattr(
        module, 'prepare_image', lambda plan, data, *args: (failing if data.is_cuda else working)(plan, data, *args)
    )
    pipeline, frames = frames_of('cuda')
    assert 'GpuError: out of order' in pipeline.device_fault
    assert {tensor.device.type for frame in frames for tensor in frame.tensors.values()} == {'cuda', 'cpu'}
    assert_same(pipeline, frames, expected)


def test_memory_that_runs_out(expected):
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        pipeline, frames = frames_of('cuda')
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert 'OutOfMemoryError' in pipeline.device_fault
    assert_same(pipeline, frames, expected)


BROKEN = """
import torch
from support import whole_robot
from robocache_core import payload
from robocache_core.pipeline import Pipeline

expected = [payload.digest(frame) for frame in whole_robot.frames(Pipeline(whole_robot.config('cpu')))]
pipeline = Pipeline(whole_robot.config('cuda'))
poll, polled = pipeline.poll, 0
digests = []

def poll_and_break(limit=None):
    global polled
    frames = poll(limit)
    polled += len(frames)
    digests.extend(payload.digest(frame) for frame in frames)
    if frames and polled == 4:  # a kernel that does not come back, and takes the context with it
        torch.zeros(4, device='cuda')[torch.tensor([10**6], device='cuda')]
    return frames

pipeline.poll = poll_and_break
whole_robot.frames(pipeline)
assert digests == expected, 'other frames'
assert 'cuda:0 failed: ' in pipeline.device_fault, pipeline.device_fault
again = Pipeline(whole_robot.config('cuda'))
assert again.device_fault is not None or str(again.device) == 'cuda:0'
assert [payload.digest(frame) for frame in whole_robot.frames(again)] == expected
assert again.device_fault is not None
print('all frames:', pipeline.device_fault)
"""


def test_a_gpu_whose_context_is_lost_costs_no_frame_and_not_the_process():
    done = subprocess.run(
        [sys.executable, '-c', BROKEN], cwd=TESTS, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith('all frames: cuda:0 failed: ')


def environment():
    path = [str(TESTS), str(TESTS.parent), os.environ.get('PYTHONPATH', '')]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, path))}
