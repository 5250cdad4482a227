# SPDX-License-Identifier: Apache-2.0
"""LeRobot sets, read by pyarrow and av: ``make test-lerobot`` has them read by lerobot itself."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from support import exports, hard_bag

from robocache_core.config import (
    CameraConfig,
    DepthConfig,
    GridConfig,
    ImuConfig,
    LidarConfig,
    PipelineConfig,
    SyncConfig,
    VoxelConfig,
)
from robocache_core.frame import FusedFrame
from robocache_core.units import MS, SECOND
from robocache_ros.export_config import ExportConfig, LeRobotConfig
from robocache_ros.parameters import NodeConfig
from robocache_ros.tools.export import run
from robocache_ros.tools.export.writer import ExportError, Part

av = pytest.importorskip('av', reason='av is not installed: requirements/export.txt')
pq = pytest.importorskip('pyarrow.parquet', reason='pyarrow is not installed: requirements/export.txt')

from robocache_ros.tools.export.lerobot import bag as lerobot_bag  # noqa: E402  needs both
from robocache_ros.tools.export.lerobot import depth, episodes, pictures, writer  # noqa: E402
from robocache_ros.tools.export.lerobot.video import VideoFile, colour_encoding, depth_encoding  # noqa: E402
from robocache_ros.tools.export.lerobot.writer import LeRobotWriter  # noqa: E402

FPS = 15
MAX_DEPTH = 8.0
BOX = VoxelConfig((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (4.0, 3.0, 2.0), ('count',), 'dense')
CONFIG = PipelineConfig(
    lidars=(LidarConfig('grid', voxel=BOX),),
    cameras=(CameraConfig('front', width=32, height=16, dtype='uint8'),),
    depths=(DepthConfig('depth', width=33, height=17, max_depth=MAX_DEPTH),),
    imus=(ImuConfig('imu', window_size=3), ImuConfig('arm', fields=('orientation',))),
    sync=SyncConfig(rate_hz=float(FPS)),
)
WANTED = LeRobotConfig(
    state=('imu', 'arm'), action=('arm',), images=('front', 'depth'), grids=('grid',), task='turn', codec='png'
)


def node(**fields: object) -> NodeConfig:
    return NodeConfig(export=ExportConfig(dataclasses.replace(WANTED, **fields)))


def frame(index: int, *, at: int | None = None, epoch: int = 0) -> FusedFrame:
    """A frame on the ``at``-th place of the grid, with numbers of its own."""
    rng = np.random.default_rng(index)
    pixels = np.clip(
        np.add.outer(np.arange(16) * 4, np.arange(32) * 4)[None] + 5 * index + [[[0]], [[20]], [[40]]], 0, 255
    )
    tensors = {
        'grid': rng.normal(size=(1, 2, 3, 4)).astype(np.float32),
        'front': pixels.astype(np.uint8),
        'depth': (rng.uniform(0.1, MAX_DEPTH, (1, 17, 33)) * (rng.random((1, 17, 33)) > 0.2)).astype(np.float32),
        'imu': rng.normal(size=(3, 6)).astype(np.float32),
        'arm': rng.normal(size=(2, 4)).astype(np.float32),
    }
    stamp_ns = 1_700_000_000 * SECOND + (index if at is None else at) * SECOND // FPS
    valid = {'grid': True, 'front': index % 3 > 0, 'depth': True, 'imu': True, 'arm': True}
    return FusedFrame(
        stamp_ns, epoch, index, 'base', {name: torch.from_numpy(each) for name, each in tensors.items()}, valid,
        {'imu': index, 'front': -index},
    )  # fmt: skip


#: Two bags: the first has a gap behind frame 4 and a jump of time behind 6, the second nothing.
BAGS = [
    [*map(frame, range(4)), *(frame(i, at=i + 2) for i in (4, 5, 6)), *(frame(i, epoch=1) for i in (7, 8))],
    [frame(i) for i in range(10, 15)],
]
LENGTHS = [4, 3, 2, 5]
FRAMES = [each for bag in BAGS for each in bag]


def write(folder: Path, settings: NodeConfig, bags: list[list[FusedFrame]] = BAGS) -> Path:
    written = LeRobotWriter(folder, CONFIG, settings)
    states = []
    for index, frames in enumerate(bags):
        part = written.begin(Part(index, f'bag{index}', tuple(states)))
        for each in frames:
            part.add(each)
        states.append(json.loads(json.dumps(part.close())))
    written.finish(states, {'sha256': 'of all'})
    return folder


def table(folder: Path) -> dict[str, list]:
    tables = [pq.read_table(path).to_pydict() for path in sorted((folder / 'data').rglob('*.parquet'))]
    return {name: [value for each in tables for value in each[name]] for name in tables[0]}


@pytest.fixture(scope='module')
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp('images') / 'set', node())


def test_the_columns_have_the_values_of_the_frames(images: Path) -> None:
    import cv2

    columns = table(images)
    for row, each in enumerate(FRAMES):
        state = np.concatenate([each.tensors['imu'][-1], each.tensors['arm'][-1]])
        np.testing.assert_array_equal(np.float32(columns['observation.state'][row]), state)
        np.testing.assert_array_equal(np.float32(columns['action'][row]), each.tensors['arm'][-1])
        np.testing.assert_array_equal(np.float32(columns['observation.grids.grid'][row]), each.tensors['grid'])
        data = np.frombuffer(columns['observation.images.front'][row]['bytes'], np.uint8)
        np.testing.assert_array_equal(cv2.imdecode(data, -1)[..., ::-1].transpose(2, 0, 1), each.tensors['front'])
        data = np.frombuffer(columns['observation.images.depth'][row]['bytes'], np.uint8)
        np.testing.assert_array_equal(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), each.tensors['depth'][0])
        assert columns['robocache.stamp_ns'][row] == each.stamp_ns
        assert columns['robocache.sequence'][row] == each.sequence
        assert {name: columns[f'robocache.valid.{name}'][row] for name in each.valid} == each.valid
        assert [columns[f'robocache.age_ns.{name}'][row] for name in ('imu', 'front', 'grid')] == [
            each.sequence, -each.sequence, 0
        ]  # fmt: skip


def test_episodes_end_where_frames_are_missing_and_are_counted_on_over_the_bags(images: Path) -> None:
    columns = table(images)
    assert columns['index'] == list(range(len(FRAMES)))
    assert columns['episode_index'] == [i for i, length in enumerate(LENGTHS) for _ in range(length)]
    within = [number for length in LENGTHS for number in range(length)]
    assert columns['frame_index'] == within
    assert columns['timestamp'] == [float(np.float32(number / FPS)) for number in within]
    rows = pq.read_table(images / 'meta/episodes/chunk-000/file-000.parquet').to_pylist()
    assert [row['length'] for row in rows] == LENGTHS
    assert [(row['dataset_from_index'], row['dataset_to_index']) for row in rows] == [(0, 4), (4, 7), (7, 9), (9, 14)]
    assert [row['tasks'] for row in rows] == [['turn']] * 4
    notes = json.loads((images / 'meta/robocache.json').read_text())
    assert [(each['bag'], each['ended_because']) for each in notes['episodes']] == [
        ('bag0', 'the next frame is 200.000 ms later, not 66.667 ms'),
        ('bag0', 'time jumped by -0.067 s'),
        ('bag0', 'its bag ends'),
        ('bag1', 'its bag ends'),
    ]
    info = json.loads((images / 'meta/info.json').read_text())
    assert (info['fps'], info['total_episodes'], info['total_frames'], info['splits']) == (FPS, 4, 14, {'train': '0:4'})
    assert info['features']['observation.state']['names'][5:7] == ['imu.linear_acceleration.z', 'arm.orientation.x']


def test_statistics_are_of_all_frames(images: Path) -> None:
    found = json.loads((images / 'meta/stats.json').read_text())
    actions = np.stack([each.tensors['arm'][-1] for each in FRAMES]).astype(np.float64)
    pixels = np.stack([each.tensors['front'].numpy() for each in FRAMES]) / 255
    for name, number in (('mean', np.mean), ('std', np.std), ('min', np.min), ('max', np.max), ('q90', None)):
        of = number or (lambda values, axis: np.quantile(values, 0.9, axis=axis))
        np.testing.assert_allclose(found['action'][name], of(actions, axis=0), rtol=1e-6)
        image = np.reshape(found['observation.images.front'][name], 3)
        np.testing.assert_allclose(image, of(pixels, axis=(0, 2, 3)), atol=1.5 / 255)
        distances = np.reshape(found['observation.images.depth'][name], 1)
        expected = of(np.stack([each.tensors['depth'].numpy() for each in FRAMES]), axis=(0, 2, 3))
        np.testing.assert_allclose(distances, expected, atol=most_lost(MAX_DEPTH, MAX_DEPTH))
    assert found['action']['count'] == [len(FRAMES)]
    assert 'observation.grids.grid' not in found


def most_lost(distance: float, max_depth: float) -> float:
    """Half of a code's step at a distance, m, and six roundings of a logarithm below 4 to float32 as it is read."""
    step = np.log((max_depth + 3.5) / 3.5) / 4095
    return (distance + 3.5) * (np.expm1(step / 2) + 6 * 2**-23)


def as_read(codes: np.ndarray, info: dict) -> np.ndarray:
    """The distances that LeRobot makes of codes, m: in float32, by what ``info.json`` says of them."""
    low, high = (np.log(info[f'video.depth_{end}'] + info['video.shift']) for end in ('min', 'max'))
    logarithm = codes.astype(np.float32) * np.float32((high - low) / 4095) + np.float32(low)
    distances = np.exp(logarithm) - np.float32(info['video.shift'])
    return distances.clip(info['video.depth_min'], info['video.depth_max'])


@pytest.mark.parametrize('codec', ['av1', 'h264', 'hevc'])
def test_distances_in_a_video_are_those_of_the_frames_to_half_a_step(tmp_path: Path, codec: str) -> None:
    folder = write(tmp_path / 'set', node(codec=codec))
    info = json.loads((folder / 'meta/info.json').read_text())['features']['observation.images.depth']
    assert (info['dtype'], info['shape']) == ('video', [17, 33, 1])
    assert {'video.codec': 'hevc', 'video.pix_fmt': 'gray12le', 'video.channels': 1}.items() <= info['info'].items()
    assert {'is_depth_map': True, 'depth_unit': 'm', 'video.use_log': True}.items() <= info['info'].items()
    found = []
    for file in sorted((folder / 'videos/observation.images.depth').rglob('*.mp4')):
        with av.open(str(file)) as opened:
            found += [image.to_ndarray(format='gray12le') for image in opened.decode()]
    expected = np.stack([each.tensors['depth'][0].numpy() for each in FRAMES])
    read = as_read(np.stack(found), info['info'])
    assert (np.abs(read - expected) <= most_lost(expected, MAX_DEPTH)).all()
    np.testing.assert_array_equal(read == 0.0, expected == 0.0)  # not valid


@pytest.mark.parametrize('max_depth', [0.3, 10.0, 20.0, 65.535])
def test_no_distance_is_farther_from_its_code_than_half_a_step(max_depth: float) -> None:
    distance = np.linspace(0.0, max_depth, 100_001, dtype=np.float32)
    codes = depth.codes_of(distance, max_depth)
    assert (codes[0], codes[-1]) == (0, depth.LAST_CODE)
    assert (np.diff(codes.astype(int)) >= 0).all()
    assert (np.abs(depth.distances(max_depth)[codes] - distance) <= most_lost(distance, max_depth)).all()
    assert depth.codes_of(np.float32([max_depth * 2]), max_depth) == depth.LAST_CODE


@pytest.mark.parametrize('codec', ['av1', 'h264', 'hevc'])
def test_each_frame_of_a_video_is_at_its_time(tmp_path: Path, codec: str) -> None:
    folder = write(tmp_path / 'set', node(codec=codec, crf=10))
    rows = pq.read_table(folder / 'meta/episodes/chunk-000/file-000.parquet').to_pylist()
    key = 'videos/observation.images.front'
    first = 0
    for row in rows:
        name = f'chunk-{row[f"{key}/chunk_index"]:03d}/file-{row[f"{key}/file_index"]:03d}.mp4'
        with av.open(str(folder / key / name)) as video:
            times = [
                (Fraction(image.pts) * image.time_base, image.to_ndarray(format='rgb24')) for image in video.decode()
            ]
        begin = round(row[f'{key}/from_timestamp'] * FPS)
        assert row[f'{key}/from_timestamp'] == begin / FPS
        for number in range(row['length']):
            time, pixels = times[begin + number]
            assert time == Fraction(begin + number, FPS)
            expected = FRAMES[first + number].tensors['front'].numpy().transpose(1, 2, 0).astype(float)
            assert np.abs(pixels - expected).mean() < 4  # the next one differs by 5
        first += row['length']
    info = json.loads((folder / 'meta/info.json').read_text())
    assert info['features']['observation.images.front']['info']['video.codec'] == codec
    assert info['video_path']


@pytest.mark.parametrize(('codec', 'times'), [('av1', 24), ('h264', 200), ('hevc', 24), ('depth', 24)])
def test_a_video_does_not_depend_on_what_else_the_machine_does(tmp_path: Path, codec: str, times: int) -> None:
    """Many are encoded side by side: libx264 gave other bytes one time in ten."""
    squares = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    images = [np.roll(squares, 3 * index, 1) for index in range(10)]
    encoding = depth_encoding({})
    if codec == 'depth':
        images = [image[..., 0].astype(np.uint16) * 16 for image in images]
    else:
        encoding = colour_encoding(LeRobotConfig(codec=codec))

    def encoded(number: int) -> bytes:
        file = VideoFile(tmp_path / f'{number}.mp4', 96, 64, FPS, encoding)
        for image in images:
            file.add(image)
        file.close()
        return (tmp_path / f'{number}.mp4').read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(encoded, range(times)))) == 1


def test_files_end_with_an_episode_once_they_are_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lerobot_bag, 'DATA_MB', 0)
    monkeypatch.setattr(lerobot_bag, 'MOST_HELD', 1000)
    folder = write(tmp_path / 'set', node())
    assert len(list((folder / 'data').rglob('*.parquet'))) == len(LENGTHS)
    rows = pq.read_table(folder / 'meta/episodes/chunk-000/file-000.parquet').to_pylist()
    assert [row['data/file_index'] for row in rows] == [0, 1, 2, 3]
    assert table(folder)['index'] == list(range(len(FRAMES)))


def test_an_episode_ends_before_its_times_are_not_right_to_a_tenth_of_a_millisecond() -> None:
    assert float(np.spacing(np.float32(episodes.LONGEST_S))) < 1e-4 < float(np.spacing(np.float32(2048)))
    at_limit = episodes.LONGEST_S * FPS
    assert episodes.end_between(frame(0), frame(1), at_limit - 1, FPS, is_grid=True) is None
    assert episodes.end_between(frame(0), frame(1), at_limit, FPS, is_grid=True) == ('it is 1000 s long', False)


@pytest.mark.parametrize(
    ('step_ms', 'is_grid', 'is_gap'),
    [
        (66, True, True),
        (66, False, False),
        (99, False, False),
        (101, False, True),
        (34, False, False),
        (33, False, True),
    ],
)
def test_a_trigger_may_be_uneven_and_a_grid_may_not(step_ms: int, is_grid: bool, is_gap: bool) -> None:
    later = dataclasses.replace(frame(1), stamp_ns=frame(0).stamp_ns + step_ms * MS)
    assert (episodes.end_between(frame(0), later, 1, FPS, is_grid) is not None) == is_gap


def test_a_gap_can_be_refused(tmp_path: Path) -> None:
    why = (
        r'bag0: behind frame 3, at \d+ ns, is a gap: the next frame is 200.000 ms later, not 66.667 ms; .*on_gap: split'
    )
    with pytest.raises(ExportError, match=why):
        write(tmp_path / 'set', node(on_gap='refuse'))


def test_a_set_of_bags_is_the_same_by_several_processes_and_after_an_interruption(tmp_path: Path) -> None:
    bags = [hard_bag.write(tmp_path / name) for name in ('one', 'two')]
    wanted = NodeConfig(export=ExportConfig(LeRobotConfig(state=('imu', 'slow'), task='jump')))
    configuration = exports.configuration(hard_bag.config(rate_hz=15.0), wanted)

    def interrupt(done_s: float, frames: int) -> None:
        if frames == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.export(bags, configuration, tmp_path / 'again', ('lerobot',), progress=interrupt)
    run.export(bags, configuration, tmp_path / 'again', ('lerobot',))
    run.export(bags, configuration, tmp_path / 'jobs', ('lerobot',), jobs=2)
    assert exports.contents(tmp_path / 'again') == exports.contents(tmp_path / 'jobs')
    columns = table(tmp_path / 'jobs' / 'lerobot')
    frames = exports.frames_of(bags[0], hard_bag.config(rate_hz=15.0)) * 2
    assert columns['robocache.stamp_ns'] == [frame.stamp_ns for frame in frames]
    assert columns['robocache.valid.slow'] == [frame.valid['slow'] for frame in frames]
    assert columns['index'] == list(range(len(frames)))
    notes = json.loads((tmp_path / 'jobs/lerobot/meta/robocache.json').read_text())
    assert [each['ended_because'][:11] for each in notes['episodes']] == ['time jumped', 'its bag end'] * 2


@pytest.mark.parametrize(
    ('config', 'fields', 'why'),
    [
        (
            {},
            {'state': ('front',)},
            r"state has 'front', which is not a vector or an IMU of the configuration \(imu, arm\)",
        ),
        (
            {},
            {'images': ('rear',)},
            r"images has 'rear', which is not a camera or a depth camera of the configuration \(front, depth\)",
        ),
        (
            {},
            {'state': (), 'action': (), 'images': (), 'grids': ()},
            'names no stream: set state, action, images or grids',
        ),
        ({}, {'fps': 10}, r'fps = 10: must be 0, or sync.rate_hz = 15 Hz'),
        (
            {'sync': SyncConfig(rate_hz=7.5)},
            {},
            'fps is a whole number: sync.rate_hz = 7.5 Hz must be one too$',
        ),
        (
            {'sync': SyncConfig(rate_hz=7.5)},
            {'fps': 8},
            'fps is a whole number: sync.rate_hz = 7.5 Hz must be one too$',
        ),
        ({'sync': SyncConfig()}, {}, r'fps must be set to a whole number.* as the trigger grid has none'),
        (
            {'cameras': (CameraConfig('front'),)},
            {},
            r'images has front, whose pixels are normalised to float16: set front.dtype: uint8',
        ),
        (
            {'lidars': (LidarConfig('grid'),)},
            {},
            r'grids has grid, whose voxels are sparse: set grid.voxel.output: dense',
        ),
        (
            {'lidars': (LidarConfig('grid'),), 'grids': (GridConfig('all', ('grid',)),)},
            {},
            r"grids has 'grid', which is not a grid, a lidar in none, .* of the configuration \(all\)",
        ),
        (
            {'lidars': (LidarConfig('grid'),), 'grids': (GridConfig('all', ('grid',)),)},
            {'grids': ('all',)},
            r'grids has all, whose voxels are sparse: set all.voxel.output: dense',
        ),
        (
            {'cameras': (CameraConfig('front', width=97, height=64, dtype='uint8'),)},
            {'codec': 'h264'},
            r' h264 cannot encode front, 97 x 64 at 15 Hz with crf \d+: use codec av1 or png, or an even width',
        ),
        (
            {'cameras': (CameraConfig('front', width=96, height=64, dtype='uint8'),)},
            {'codec': 'hevc', 'crf': 52},
            r' hevc cannot encode front, 96 x 64 at 15 Hz with crf 52: .* and crf up to 51',
        ),
        (
            {'depths': (DepthConfig('depth', width=8, height=8),)},
            {'codec': 'av1'},
            r' hevc cannot encode depth, 8 x 8 at 15 Hz: use codec png, or a larger width and height$',
        ),
    ],
)
def test_what_cannot_be_a_feature_is_refused(tmp_path: Path, config: dict, fields: dict, why: str) -> None:
    with pytest.raises(ExportError, match=f'export.lerobot.{why}' if not why.startswith('names') else why):
        LeRobotWriter(tmp_path / 'set', dataclasses.replace(CONFIG, **config), node(**fields))
    assert not (tmp_path / 'set').exists()


@pytest.mark.parametrize(
    ('lacking', 'codec', 'why'),
    [
        ({'encoder': 'libnone'}, 'hevc', r'front needs libnone, which the FFmpeg of av [\d.]+ lacks: use codec png'),
        ({'encoder': 'libnone'}, 'av1', r'depth needs libnone, which the FFmpeg of av [\d.]+ lacks: use codec png'),
        ({'pixels': 'gray14le'}, 'av1', r'depth needs gray14le, and libx265 in the FFmpeg of av .*: use codec png'),
    ],
)
def test_an_encoder_that_is_not_installed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: dict, codec: str, why: str
) -> None:
    other = pictures.encoding_of
    monkeypatch.setattr(
        writer,
        'encoding_of',
        lambda feature, wanted: dataclasses.replace(
            other(feature, wanted), **(lacking if other(feature, wanted).codec == 'hevc' else {})
        ),
    )
    with pytest.raises(ExportError, match=f'export.lerobot: {why}'):
        LeRobotWriter(tmp_path / 'set', CONFIG, node(codec=codec))
    assert not (tmp_path / 'set').exists()
