# SPDX-License-Identifier: Apache-2.0
"""What must hold on a GPU beside the right result: determinism, streams, graphs, several GPUs, memory, errors."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from support.clouds_on_gpu import GRID, VOXELIZATIONS, as_bytes, assert_same_bits, buffers, layout, points

from benchmark.gpu.images import image_out, noise, prepare
from robocache_core import backends, ops
from robocache_core.ops import PoseTable, VoxelGrid

EVERY = pytest.mark.parametrize('name', VOXELIZATIONS)


def image(data: torch.Tensor, out: Any = None) -> torch.Tensor:
    return prepare(data, 'bgr8', 320, 180, out=None if out is None else out[0])


def busy() -> None:
    """Keep the current stream busy for long enough that whatever does not wait for it is seen to be too early."""
    torch.cuda._sleep(200_000_000)  # cycles: about 0.1 s


# ---- determinism


@EVERY
def test_a_hundred_runs_of_shuffled_points_have_the_same_bits(name):
    voxelize, cloud = VOXELIZATIONS[name], points(20_000, 0)
    expected = voxelize(as_bytes(cloud))
    generator = torch.Generator(device='cuda').manual_seed(0)
    cloud = cloud.cuda()
    for _ in range(100):
        order = torch.randperm(len(cloud), generator=generator, device='cuda')
        assert_same_bits(voxelize(as_bytes(cloud[order])), expected)


@EVERY
def test_streams_that_race_do_not_meet(name):
    """Each has scratch memory of its own."""
    voxelize = VOXELIZATIONS[name]
    clouds = [as_bytes(points(30_000 + 1000 * k, k)) for k in range(4)]
    expected = [voxelize(cloud) for cloud in clouds]
    there = [cloud.cuda() for cloud in clouds]
    streams = [torch.cuda.Stream() for _ in clouds]
    torch.cuda.synchronize()
    found: list[list[Any]] = [[] for _ in clouds]
    for _ in range(25):
        for k, stream in enumerate(streams):
            with torch.cuda.stream(stream):
                found[k].append(voxelize(there[k]))
    torch.cuda.synchronize()
    for results, wanted in zip(found, expected, strict=True):
        for result in results:
            assert_same_bits(result, wanted)


@EVERY
def test_threads_that_race_do_not_meet(name):
    """On streams of their own, and two on one."""
    voxelize = VOXELIZATIONS[name]
    clouds = [as_bytes(points(20_000, k)) for k in range(4)]
    expected = [voxelize(cloud) for cloud in clouds]
    there = [cloud.cuda() for cloud in clouds]
    streams = [torch.cuda.Stream() for _ in range(3)]
    torch.cuda.synchronize()
    found: dict[int, list[Any]] = {}

    def work(k: int) -> None:
        with torch.cuda.stream(streams[k % len(streams)]):
            found[k] = [voxelize(there[k]) for _ in range(25)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(clouds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.cuda.synchronize()
    for k, wanted in enumerate(expected):
        assert len(found[k]) == 25
        for result in found[k]:
            assert_same_bits(result, wanted)


@EVERY
@pytest.mark.parametrize('others', [0, 5_000])
def test_more_points_than_16_bits_count_in_one_voxel(name, others):
    cloud = points(70_000 + others, 1)
    generator = torch.Generator().manual_seed(2)
    cloud[:70_000, :3] = 0.01 + 0.1 * torch.rand(70_000, 3, generator=generator)  # all in the voxel at the origin
    cloud = cloud[torch.randperm(len(cloud), generator=generator)]
    expected = VOXELIZATIONS[name](as_bytes(cloud))
    found = VOXELIZATIONS[name](as_bytes(cloud).cuda())
    assert_same_bits(found, expected)
    if name == 'sparse':
        assert int(found.counts.max()) >= 70_000
        assert others or len(found.counts) == 1


@pytest.mark.parametrize('channels', [('count',), ('occupancy', 'count')], ids='+'.join)
def test_counts_wait_for_the_counts_before_them(channels):
    """Their launches begin before those of the call before have ended, which writes the same memory."""
    num = 50_000
    clouds = [as_bytes(points(num, number)) for number in range(4)]
    expected = [ops.voxelize_dense(cloud, layout(num), GRID, channels) for cloud in clouds]
    there = [cloud.cuda() for cloud in clouds]
    out = torch.empty(len(channels), *reversed(GRID.shape), device='cuda')
    for calls in range(2, 22):
        busy()  # so that all of them are launched before the first begins
        for number in range(calls):
            result = ops.voxelize_dense(there[number % 4], layout(num), GRID, channels, out=out)
        assert_same_bits(result, expected[(calls - 1) % 4])


# ---- streams and graphs


@EVERY
def test_a_stream_that_is_not_the_default_orders_the_work(name):
    cloud = as_bytes(points(9_001, 3))
    stream, data = torch.cuda.Stream(), torch.zeros(len(cloud), dtype=torch.uint8, device='cuda')
    pinned = cloud.pin_memory()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        busy()
        data.copy_(pinned, non_blocking=True)
        found = VOXELIZATIONS[name](data)
        data.zero_()
    torch.cuda.current_stream().wait_stream(stream)
    assert_same_bits(found, VOXELIZATIONS[name](cloud))


@pytest.mark.parametrize('name', [*VOXELIZATIONS, 'image'])
def test_a_graph_is_replayed_on_new_bytes(name):
    work = VOXELIZATIONS.get(name, image)
    if name == 'image':
        inputs = [noise('bgr8', 320, 180, number) for number in range(4)]
    else:
        inputs = [as_bytes(points(10_000, number)) for number in range(4)]
    expected = [work(data) for data in inputs]
    data = inputs[0].cuda()

    def buffers_of() -> Any:
        return image_out(torch.device('cuda')) if name == 'image' else buffers(name, 10_000, 'cuda')

    out, stream = buffers_of(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work(data, out)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        work(data, out)
    for new, wanted in zip(inputs, expected, strict=True):
        data.copy_(new)
        for tensor in out:
            tensor.view(torch.uint8).fill_(0xFF)
        graph.replay()
        num = len(wanted.coords) if name in ('sparse', 'hard') else None
        for tensor, right in zip(out, _tensors(name, wanted), strict=True):
            assert_same_bits(tensor[:num], right)
    # A call on the graph's stream finds the scratch memory as a replay leaves it.
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        found = work(data)
    torch.cuda.synchronize()
    assert_same_bits(found, expected[-1])


def test_two_graphs_are_replayed_side_by_side():
    """Captured on one stream, as torch does it by itself, they have scratch memory of their own."""
    inputs = [as_bytes(points(10_000, number)) for number in range(2)]
    work, graphs = VOXELIZATIONS['sparse'], []
    for data in inputs:
        on_gpu, out, graph = data.cuda(), buffers('sparse', 10_000, 'cuda'), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work(on_gpu, out)
        graphs.append((graph, on_gpu, out, torch.cuda.Stream()))
    torch.cuda.synchronize()
    for _ in range(50):
        for graph, _, _, stream in graphs:
            with torch.cuda.stream(stream):
                graph.replay()
        torch.cuda.synchronize()
        for (_, _, out, _), data in zip(graphs, inputs, strict=True):
            right = work(data)
            for tensor, wanted in zip(out, _tensors('sparse', right), strict=True):
                assert_same_bits(tensor[: len(right.coords)], wanted)


def _tensors(name: str, result: Any) -> tuple[torch.Tensor, ...]:
    names = {
        'dense': ('tensor',),
        'sparse': ('coords', 'features', 'counts'),
        'hard': ('voxels', 'coords', 'num_points'),
    }
    return (result,) if name == 'image' else tuple(getattr(result, part) for part in names[name])


# ---- which backend, which device


def test_the_cuda_backend_is_the_one_that_runs(monkeypatch):
    module, called = backends.cuda().module, []
    for name in ('voxelize_dense', 'voxelize_sparse', 'voxelize_hard', 'prepare_image', 'fuse', 'deskew_points'):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, _f=function, _n=name: (called.append(_n), _f(*args))[1])
    for voxelize in VOXELIZATIONS.values():
        voxelize(as_bytes(points(100, 0)).cuda())
    image(noise('bgr8', 320, 180, 0).cuda())
    _resample('cuda')
    ops.deskew_points(as_bytes(points(100, 0)).cuda(), layout(100))
    assert called == ['voxelize_dense', 'voxelize_sparse', 'voxelize_hard', 'prepare_image', 'fuse', 'deskew_points']


def test_the_profiler_sees_our_kernels():
    data = as_bytes(points(1000, 0)).cuda()
    VOXELIZATIONS['dense'](data)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        data.add_(0)  # torch's own
        VOXELIZATIONS['dense'](data)
        torch.cuda.synchronize()
    kernels = [event.key for event in profiler.key_averages()]
    if not any('elementwise' in kernel for kernel in kernels):
        pytest.skip('the profiler sees no kernel at all, not even those of torch')
    assert any('robocache' in kernel for kernel in kernels), kernels


def _resample(device: str, **more: Any) -> tuple[torch.Tensor, torch.Tensor]:
    stamps = torch.arange(10, device=device)[None] * 1000
    values = torch.arange(30, device=device).view(1, 10, 3).float()
    targets = torch.tensor([[10, 4321, 8999]], device=device)
    return ops.resample(values, stamps, targets, method='linear', tolerance_ns=10**6, unsorted='trust', **more)


@pytest.mark.parametrize('name', [*VOXELIZATIONS, 'image', 'resample'])
def test_another_gpu_than_the_current_one(name):
    if torch.cuda.device_count() < 2:
        pytest.skip(f'needs 2 GPUs, there is {torch.cuda.device_count()}')
    with torch.cuda.device(0):
        if name == 'resample':
            expected, found = _resample('cpu'), _resample('cuda:1')
        else:
            work = VOXELIZATIONS.get(name, image)
            data = noise('bgr8', 320, 180, 0) if name == 'image' else as_bytes(points(5000, 0))
            expected, found = work(data), work(data.to('cuda:1'))
        assert torch.cuda.current_device() == 0
    assert_same_bits(found, expected)


# ---- memory and waiting


def _calls() -> dict[str, Any]:
    """By name, a call into buffers that are there already."""
    data, picture = as_bytes(points(20_000, 0)).cuda(), noise('bgr8', 320, 180, 0).cuda()
    poses = PoseTable('intensity', torch.eye(4)[None, :3].repeat(8, 1, 1).contiguous().cuda(), 0.0, 0.1)
    outs = {name: buffers(name, 20_000, 'cuda') for name in VOXELIZATIONS}
    image_buffer = image_out(torch.device('cuda'))
    moved = torch.empty(20_000, 3, device='cuda'), torch.empty(20_000, dtype=torch.bool, device='cuda')
    stamps, values = torch.arange(10, device='cuda')[None] * 1000, torch.randn(1, 10, 3, device='cuda')
    targets = torch.tensor([[10, 4321, 8999]], device='cuda')
    sampled = torch.empty(1, 3, 3, device='cuda'), torch.empty(1, 3, dtype=torch.bool, device='cuda')
    calls: dict[str, Any] = {name: lambda name=name: VOXELIZATIONS[name](data, outs[name]) for name in VOXELIZATIONS}
    calls['image'] = lambda: image(picture, image_buffer)
    calls['deskew_points'] = lambda: ops.deskew_points(data, layout(20_000), deskew=poses, out=moved)
    calls['resample'] = lambda: ops.resample(
        values, stamps, targets, method='linear', tolerance_ns=10**6, unsorted='trust', out=sampled
    )
    return calls


OPERATIONS = pytest.mark.parametrize('name', [*VOXELIZATIONS, 'image', 'deskew_points', 'resample'])


@OPERATIONS
def test_after_the_first_call_nothing_is_allocated(name):
    call = _calls()[name]
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    free, reserved = torch.cuda.mem_get_info()[0], torch.cuda.memory_reserved()
    for _ in range(100):
        call()
    torch.cuda.synchronize()
    assert (torch.cuda.mem_get_info()[0], torch.cuda.memory_reserved()) == (free, reserved)


@OPERATIONS
def test_after_the_first_call_nothing_waits(name):
    call = _calls()[name]
    call()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('error')  # of what torch does
    try:
        busy()
        call()
        call()
        still_busy = not torch.cuda.current_stream().query()  # of what we do
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert still_busy
    torch.cuda.synchronize()


# ---- errors


def test_tensors_on_different_devices_are_refused_by_name():
    data = as_bytes(points(100, 0))
    stamps, values, targets = torch.arange(10)[None], torch.zeros(1, 10, 3), torch.zeros(1, 2, dtype=torch.int64)
    settings: Any = {'method': 'linear', 'tolerance_ns': 1}
    with pytest.raises(ValueError, match=r'^out is on cpu: must be on cuda:0'):
        VOXELIZATIONS['dense'](data.cuda(), buffers('dense', 100, 'cpu'))
    with pytest.raises(ValueError, match=r'^out\[2\] \(counts\) is on cuda:0: must be on cpu'):
        VOXELIZATIONS['sparse'](data, buffers('sparse', 100, 'cuda'))
    with pytest.raises(ValueError, match=r'^out is on cpu: must be on cuda:0'):
        image(noise('bgr8', 320, 180, 0).cuda(), image_out(torch.device('cpu')))
    with pytest.raises(ValueError, match=r'^stamps_ns is on cpu: must be on cuda:0'):
        ops.resample(values.cuda(), stamps, targets.cuda(), **settings)
    with pytest.raises(ValueError, match=r'^streams\[1\] values is on cpu: must be on cuda:0'):
        ops.fuse([(values.cuda(), stamps.cuda()), (values, stamps)], targets.cuda(), **settings)
    with pytest.raises(ValueError, match=r'^deskew\.poses is on cuda:0: must be on cpu'):
        ops.deskew_points(
            data, layout(100), deskew=PoseTable('x', torch.eye(4)[None, :3].contiguous().cuda(), 0.0, 1.0)
        )


def test_an_error_of_the_gpu_names_the_operation_and_can_be_overcome():
    """No memory is left for the scratch of a grid of 2^31 voxels: 256 MiB for a bit of each."""
    data, mib = as_bytes(points(1000, 0)).cuda(), 1 << 20
    grid = VoxelGrid((-4.0, -4.0, -4.0), (0.01,) * 3, (1290, 1290, 1290))
    out = tuple(torch.empty(shape, dtype=dtype, device='cuda') for shape, dtype in (
        ((1000, 3), torch.int32), ((1000, 1), torch.float32), ((1000,), torch.int32)
    ))  # fmt: skip
    expected = VOXELIZATIONS['sparse'](data.cpu())
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):  # whose scratch is new
        assert_same_bits(VOXELIZATIONS['sparse'](data), expected)  # and the allocator has room for what is reported
        taken = []
        while (free := torch.cuda.mem_get_info()[0]) > 224 * mib:
            taken.append(torch.empty(min(1024 * mib, free - 128 * mib), dtype=torch.uint8, device='cuda'))
        with pytest.raises(backends.cuda().module.GpuError, match=r'^voxelize_sparse: out of memory'):
            ops.voxelize_sparse(data, layout(1000), grid, ('count',), out=out)
        taken.clear()
        torch.cuda.empty_cache()
        assert_same_bits(VOXELIZATIONS['sparse'](data), expected)


@pytest.mark.parametrize('begin', [0, 1, 3])
def test_counts_to_a_result_that_begins_anywhere_in_its_storage(begin):
    """Over what was there before, and call after call: it is cleared while points are being read."""
    num, grid = 300_001, VoxelGrid((-2.0, -2.0, -1.0), (0.25, 0.25, 0.25), (17, 13, 7))
    cloud = as_bytes(points(num, 4))
    expected = ops.voxelize_dense(cloud, layout(num), grid, ('count', 'occupancy'))
    storage = torch.full((begin + expected.tensor.numel(),), torch.nan, device='cuda')
    out, on_gpu = storage[begin:].view(expected.tensor.shape), cloud.cuda()
    for _ in range(20):
        found = ops.voxelize_dense(on_gpu, layout(num), grid, ('count', 'occupancy'), out=out)
        assert_same_bits(found, expected)


def test_counts_beyond_what_a_float_counts_one_by_one():
    num = (1 << 24) + 5
    cloud = torch.full((num, 4), 0.05)
    cloud[0] = 0.5
    found = ops.voxelize_dense(as_bytes(cloud).cuda(), layout(num), GRID, ('count', 'occupancy'))
    assert found.tensor[0].max() == float(num - 1)
    assert found.tensor[1].sum() == 2
