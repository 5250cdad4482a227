# SPDX-License-Identifier: Apache-2.0
"""What ``view`` shows of a bag, read back from its recording."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from support import full_disk, rrd

from robocache_core.config import (
    CameraConfig,
    DepthConfig,
    DepthVoxelConfig,
    ImuConfig,
    LidarConfig,
    PipelineConfig,
    SyncConfig,
)
from robocache_ros.offline import counts_of, fused_frames, make_pipeline
from robocache_ros.tools.pictures import image_pixels
from robocache_ros.tools.simulation import write_bag
from robocache_ros.tools.view import cli
from robocache_sim.sensors import robot

GRID = {'size': (0.5, 0.5, 0.5), 'lower': (-8.0, -8.0, -1.0), 'upper': (8.0, 8.0, 3.0)}
CONFIG = PipelineConfig(
    lidars=(LidarConfig('lidar', topic='/lidar/points', max_range=12.0),),
    cameras=(
        CameraConfig(
            'front',
            topic='/camera/front/image_raw/compressed',
            width=64,
            height=48,
            tolerance_ns=15_000_000,  # of images 67 ms apart: some targets have none
            required=False,
        ),
    ),
    depths=(
        DepthConfig(
            'near',
            topic='/camera/front_depth/image_rect_raw',
            width=40,
            height=30,
            voxel=DepthVoxelConfig(channels=('count',), output='dense', **GRID),
            required=False,
        ),
    ),
    imus=(ImuConfig('imu', topic='/imu/data', window_size=5, window_period_ns=5_000_000, required=False),),
    target_frame='base_link',
    sync=SyncConfig(),
)


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp('view') / 'bag'
    write_bag(path, robot(seed=1, lidar_rings=8, depth=True), seconds=1.5)
    return path


@pytest.fixture(scope='module')
def computed(bag):
    """The frames, and the pipeline that computed them."""
    pipeline = make_pipeline(CONFIG, on_host=True)
    return list(fused_frames(bag, CONFIG, pipeline)), pipeline


@pytest.fixture(scope='module')
def recorded(bag, tmp_path_factory):
    """The entities of what is shown of the bag."""
    rerun = pytest.importorskip('rerun', reason='rerun is not installed: requirements/view.txt')
    from robocache_ros.tools.view import bag as source
    from robocache_ros.tools.view import scene

    file = tmp_path_factory.mktemp('view') / 'file.rrd'
    stream = rerun.RecordingStream('test')
    rerun.set_strict_mode(True)
    stream.save(file)
    patch = pytest.MonkeyPatch()
    patch.setattr(source, '_opened', lambda args: (source.open_bag(bag), CONFIG))
    source.show(SimpleNamespace(), lambda config: scene.Scene(stream, config))
    patch.undo()
    stream.disconnect()
    return rrd.read(file)


def test_every_frame_is_on_the_time_line_of_stamps(computed, recorded):
    frames, _ = computed
    assert len(frames) > 10
    stamps = [frame.stamp_ns for frame in frames]
    for path in ('voxels/lidar', 'voxels/near', 'points/lidar', 'cameras/front/image', 'cameras/front/state',
                 'cameras/front/points', 'depths/near/image', 'depths/near/state'):  # fmt: skip
        assert recorded[f'/world/{path}'].stamp_ns == stamps, path
    assert recorded['/vectors/imu'].stamp_ns == stamps
    assert recorded['/age_ms/lidar'].column('Scalars:scalars') == [[0.0]] * len(frames)


def test_voxels_are_those_of_the_frames(computed, recorded):
    frames, _ = computed
    sparse, dense = recorded['/world/voxels/lidar'], recorded['/world/voxels/near']
    grid = CONFIG.lidars[0].voxel.grid
    for frame, centres, halves in zip(
        frames, sparse.column('Boxes3D:centers'), sparse.column('Boxes3D:half_sizes'), strict=True
    ):
        coords = frame.tensors['lidar.coords'].numpy()[:, ::-1]
        np.testing.assert_allclose(centres, np.array(grid.lower) + (coords + 0.5) * grid.size, atol=1e-5)
        np.testing.assert_allclose(halves, np.broadcast_to(np.array(grid.size) / 2, centres.shape))
    for frame, centres in zip(frames, dense.column('Boxes3D:centers'), strict=True):
        occupied = np.argwhere(frame.tensors['near.voxels'][0].numpy() > 0)[:, ::-1]
        np.testing.assert_allclose(centres.reshape(-1, 3), np.array(GRID['lower']) + (occupied + 0.5) * 0.5, atol=1e-5)
    assert max(map(len, dense.column('Boxes3D:centers'))) > 50


def test_vectors_images_and_depths_are_those_of_the_frames(computed, recorded):
    frames, _ = computed
    vector = recorded['/vectors/imu']
    names = next(value for value in vector.values['SeriesLines:names'] if value)
    assert names[0] == 'angular_velocity.x'
    assert len(names) == 6
    rows = [value for value in vector.values['Scalars:scalars'] if value]
    np.testing.assert_array_equal(rows, [frame.tensors['imu'][-1].double().numpy() for frame in frames])
    for frame, pixels in zip(frames, recorded['/world/cameras/front/image'].column('Image:buffer'), strict=True):
        np.testing.assert_array_equal(pixels.reshape(48, 64, 3), image_pixels(frame, CONFIG.cameras[0]))
    for frame, data in zip(frames, recorded['/world/depths/near/image'].column('DepthImage:buffer'), strict=True):
        depth = data.astype(np.uint8).tobytes()
        assert depth == frame.tensors['near'].numpy().tobytes()


def test_an_image_that_is_not_valid_is_crossed_out(computed, recorded):
    frames, _ = computed
    state = recorded['/world/cameras/front/state']
    assert {frame.valid['front'] for frame in frames} == {True, False}
    for frame, strips, labels in zip(
        frames, state.values['LineStrips2D:strips'], state.values['LineStrips2D:labels'], strict=True
    ):
        assert len(strips) == (1 if frame.valid['front'] else 3)
        age = f'age {frame.age_ns["front"] / 1e6:.1f} ms'
        assert labels[0] == (age if frame.valid['front'] else f'not valid, {age}')


def test_the_lidar_is_seen_in_the_image_and_the_cameras_where_they_are(computed, recorded):
    frames, _ = computed
    points = recorded['/world/cameras/front/points'].column('Points2D:positions')
    assert all(len(each) > 50 for each in points)
    inside = np.concatenate(points)
    assert (inside >= 0).all()
    assert (inside <= (64, 48)).all()
    front, near = robot(seed=1, depth=True).cameras[0], robot(seed=1, depth=True).depths[0]
    for path, camera in (('/world/cameras/front', front), ('/world/depths/near', near)):
        translations = [v for v in recorded[path].values['Transform3D:translation'] if v]
        np.testing.assert_allclose(translations, [[camera.pose.translation]] * len(frames), atol=1e-6)
    matrix = np.array(next(v for v in recorded['/world/cameras/front'].values['Pinhole:image_from_camera'] if v))
    assert matrix.reshape(3, 3)[0, 0] == pytest.approx(40.0)  # 400 px of 640, resized to 64; column-major
    assert np.linalg.norm(recorded['/world/points/lidar'].column('Points3D:positions')[3], axis=1).max() < 15


def test_drops_are_curves_and_words(computed, recorded):
    _, pipeline = computed
    curves = {
        path.removeprefix('/points_dropped/'): sum(entity.column('Scalars:scalars'))[0]
        for path, entity in recorded.items()
        if path.startswith('/points_dropped/')
    }
    assert curves == {f'{n}/{r}': c for n, reasons in pipeline.points_dropped.items() for r, c in reasons.items()}
    assert curves['lidar/range'] > 0
    lines = [text for (text,) in recorded['/events'].values['TextLog:text']] if '/events' in recorded else []
    said = {}
    for line in lines:
        if ' dropped: ' in line:
            name, _, rest = line.partition(': ')
            count, reason = rest.split(' dropped: ')
            said[name, reason] = said.get((name, reason), 0) + int(count)
    counted = {(n, r): c for n, counts in counts_of(pipeline).items() for r, c in counts.dropped.items()}
    assert said == {key: count for key, count in counted.items() if key[1] != 'unselected' and count}


def test_the_command_writes_a_file_and_nothing_else(bag, tmp_path):
    """Nor does it go to another host: a viewer's statistics would begin with a file in the home."""
    pytest.importorskip('rerun', reason='rerun is not installed: requirements/view.txt')
    out, home = tmp_path / 'out' / 'file.rrd', tmp_path / 'home'
    home.mkdir()
    command = [sys.executable, '-m', 'robocache_ros.tools.view', bag, '--save', out, '--colour', 'count']
    environment = {**os.environ, 'HOME': str(home), 'XDG_CONFIG_HOME': '', 'XDG_DATA_HOME': ''}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f'frames; rerun {out} shows them' in done.stdout
    assert '/world/cameras/rear/points' in rrd.read(out)
    assert [path for path in home.rglob('*') if path.name in ('rerun', 'analytics.json')] == []


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        ([], 2, 'needs either BAG or --live'),
        (['BAG', '--live'], 2, 'needs either BAG or --live'),
        (['BAG', '--port', '0'], 2, '0: must be from 1 to 65535'),
        (['nowhere'], 2, 'view: nowhere: there is no such bag'),
        (['BAG', '--connect', '--port', '9'], 1, 'view: no viewer listens on port 9 of this host'),
        (['BAG', 'none.yaml'], 2, 'view: none.yaml: No such file or directory'),
        (['BAG', '--save', '/proc/no/file'], 2, 'view: [Errno 2]'),
        (['BAG', '--save', '/dev/full'], 1, 'view: /dev/full is not whole: '),
        (
            ['--live', '--node', '/nobody'],
            2,
            'view: no node /nobody answers within 5 s: run it, or set --node; nodes: ',
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(bag, arguments, status, message):
    if message.startswith('view: '):
        pytest.importorskip('rerun', reason='rerun is not installed: requirements/view.txt')
    given = [str(bag) if each == 'BAG' else each for each in arguments]
    command = [sys.executable, '-m', 'robocache_ros.tools.view', *given]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert message in done.stderr.splitlines()[-1]


def test_a_disk_that_becomes_full_is_one_line(bag, tmp_path):
    pytest.importorskip('rerun', reason='rerun is not installed: requirements/view.txt')
    file = tmp_path / 'file.rrd'
    with full_disk.files_of_at_most(100_000):
        command = [sys.executable, '-m', 'robocache_ros.tools.view', bag, '--save', file]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if ' s  ' not in line and not line.startswith('note: ')]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f'view: {file} is not whole: ')


def test_without_the_library_the_remedy_is_named(bag, monkeypatch, capsys):
    for module in ('recording', 'scene', 'layout', 'bag', 'live'):
        monkeypatch.delitem(sys.modules, f'robocache_ros.tools.view.{module}', raising=False)
    monkeypatch.setitem(sys.modules, 'rerun', None)
    monkeypatch.setattr(cli.interruption, 'end_at_once', lambda tool: None)
    assert cli.main([str(bag)]) == 2
    said = 'view: needs rerun, which is not installed: pip install "rerun-sdk>=0.41"\n'
    assert capsys.readouterr().err == said


def test_the_viewer_listens_to_this_host_alone(monkeypatch):
    """And where it ends at once, that is said."""
    pytest.importorskip('rerun', reason='rerun is not installed: requirements/view.txt')
    from robocache_ros.tools.view import recording

    started = []

    def start(command, env, **_):
        started.append((command, env))
        return SimpleNamespace(poll=lambda: 1)

    monkeypatch.setattr(recording.subprocess, 'Popen', start)
    with (
        pytest.raises(recording.ViewerError, match='the viewer ended at once'),
        recording.recording(None, 9, spawn=True),
    ):
        pass
    ((command, environment),) = started
    assert command[command.index('--bind') + 1] == '127.0.0.1'
    assert environment['CI'] == 'true', 'it sends no usage statistics then'
