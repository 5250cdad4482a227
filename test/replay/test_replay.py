# SPDX-License-Identifier: Apache-2.0
"""A bag through the node over DDS: a node process, a player process, and the files that they write."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from support import bags, browser, mcap_by_hand, recorded

from robocache_core import payload
from robocache_ros import parameters
from robocache_ros.offline import fused_frames
from robocache_ros.tools.export.run import Configuration, export
from robocache_ros.tools.replay import cli, node_process
from robocache_ros.tools.simulation import write_bag
from robocache_sim.sensors import robot

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = str(40 + os.getpid() % 20)
TIMEOUT_S = 180
#: Real time over bag time where a test says how many frames come: at the bag's own speed a machine that stands still
#: for half a second loses messages, as the subscriptions are best effort.
SLOWLY = '--rate', '0.4'
T_CLOUD = 'sensor_msgs/msg/PointCloud2'


def start(*arguments):
    command = [sys.executable, '-m', 'robocache_ros.tools.replay', '--domain', DOMAIN, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def run(*arguments):
    """Replay to the end; returns exit status, stdout and stderr."""
    process = start(*arguments)
    try:
        out, err = process.communicate(timeout=TIMEOUT_S)
    finally:
        if process.poll() is None:
            process.kill()
    return process.returncode, out, err


def results(folder):
    summary = json.loads((folder / 'summary.json').read_text())
    for name, s in summary['streams'].items():
        assert s['received'] == s['used'] + s['held'] + sum(s['dropped'].values()), name
    targets = summary['targets']
    assert targets['targets'] == targets['emitted'] + targets['pending'] + sum(targets['dropped'].values())
    assert summary['frames'] == targets['emitted']
    return summary


@pytest.fixture(scope='session')
def simulated(tmp_path_factory):
    path = tmp_path_factory.mktemp('bags') / 'simulated'
    write_bag(path, robot(seed=1, lidar_rings=16), seconds=2.0)
    return path


@pytest.fixture(scope='session')
def replayed(simulated, tmp_path_factory):
    """The simulated bag, replayed with a configuration made from it."""
    out = tmp_path_factory.mktemp('replayed')
    status, stdout, stderr = run(simulated, *SLOWLY, '--out', out)
    assert status == 0, stdout + stderr
    return out, stdout


def test_every_stream_is_fused_at_the_triggers_rate(replayed):
    out, _ = replayed
    summary = results(out)
    assert set(summary) >= {'frames', 'trigger_rate_hz', 'fused_rate_hz', 'backend', 'streams', 'latency_ms'}
    assert set(summary['streams']) == {'lidar', 'front', 'rear', 'imu'}
    assert set(summary['latency_ms']) == {'p50', 'p99'}
    assert 0 < summary['latency_ms']['p50'] <= summary['latency_ms']['p99']
    assert summary['backend'] in ('cpu', 'reference')
    sent = summary['published']['lidar']
    assert sent == 20
    assert sent - 2 <= summary['frames'] <= sent  # a window may reach back before the bag
    for name, stream in summary['streams'].items():
        assert stream['received'] == summary['published'][name]
        assert stream['used'] >= summary['frames']
        assert set(stream['dropped']) <= {'unselected'}
    assert summary['valid'] == dict.fromkeys(summary['streams'], summary['frames'])
    assert summary['epochs'] == 1


def test_the_table_and_the_report_show_it(replayed):
    out, stdout = replayed
    for text in ('lidar', 'front', 'rear', 'imu', 'latency', 'offset', 'unselected', str(out / 'report.html')):
        assert text in stdout
    page = (out / 'report.html').read_text()
    for name in ('voxels of lidar from above', 'fused image of front', 'fused image of rear', 'IMU window of imu',
                 'lidar points in the image of front', 'lidar points in the image of rear',
                 'rates', 'latency', 'offsets', 'gaps', 'stages'):  # fmt: skip
        assert f'alt="{name}" src="data:image/' in page, name
    assert 'http' not in page.replace('http://www.w3.org', '')  # it opens without a network
    assert page.endswith('</html>\n')


def test_the_report_is_readable_in_a_browser(replayed, tmp_path):
    out, _ = replayed
    browser.check(out / 'report.html', tmp_path)


def test_the_frame_and_the_configuration_are_left_to_start_from(replayed):
    out, _ = replayed
    frame = payload.decode((out / 'frame.safetensors').read_bytes())
    assert frame.frame_id == 'base_link'
    assert all(frame.valid.values())
    assert frame.tensors['front'].shape == (3, 384, 640)
    parameters = yaml.safe_load((out / 'preprocess.yaml').read_text())['/**/preprocess']['ros__parameters']
    assert parameters['lidars'] == ['lidar']
    assert len(parameters['lidar']['extrinsics']) == 7


def test_a_looped_bag_with_a_configuration_of_ones_own(simulated, tmp_path):
    config = tmp_path / 'mine.yaml'
    parameters = {
        'lidars': ['top'], 'cameras': ['front', 'absent'], 'sync': {'trigger': 'top'},
        'top': {'topic': '/lidar/points', 'voxel': {'output': 'dense', 'size': [1.0, 1.0, 1.0]}},
        'front': {'topic': '/camera/front/image_raw/compressed', 'dtype': 'float32', 'width': 160, 'height': 120},
        'absent': {'topic': '/no/such/image_raw', 'required': False},
        'unheard_of': 1,
    }  # fmt: skip
    config.write_text(yaml.safe_dump({'preprocess': {'ros__parameters': parameters}}))
    status, stdout, stderr = run(simulated, '--config', config, '--loop', 2, *SLOWLY, '--out', tmp_path)
    assert status == 0, stdout + stderr
    assert '/no/such/image_raw' in stdout
    assert 'unheard_of' in stdout
    summary = results(tmp_path)
    assert summary['epochs'] == 2
    assert summary['published']['top'] == 40
    assert summary['frames'] >= 32  # what waits when time jumps back is dropped
    assert summary['valid']['absent'] == 0
    frame = payload.decode((tmp_path / 'frame.safetensors').read_bytes())
    assert frame.tensors['top'].ndim == 4
    assert frame.tensors['front'].shape == (3, 120, 160)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_real_payloads(tmp_path, storage):
    bag, out = recorded.bag(tmp_path / 'real', '--seconds', '2', '--storage', storage), tmp_path / 'out'
    status, stdout, stderr = run(bag, *SLOWLY, '--out', out)
    assert status == 0, stdout + stderr
    summary = results(out)
    assert set(summary['streams']) == {'lidar', 'imu', 'cam_front', 'cam_front_left', 'cam_back'}
    assert summary['published']['lidar'] == 20
    # the IMU begins with the first scan, so the first windows are not full
    assert summary['frames'] >= 18, summary['targets']
    assert summary['valid'] == dict.fromkeys(summary['streams'], summary['frames'])
    for stream in summary['streams'].values():
        assert set(stream['dropped']) <= {'unselected', 'missing:imu'}
    assert set(summary['targets']['dropped']) <= {'missing:imu'}


def test_a_node_that_gets_nothing_usable_is_a_failure_with_a_reason(tmp_path):
    clouds = [(ms, topic, cloud) for ms, topic, cloud in bags.every(100, '/points', bags.cloud, 1200)]
    for _, _, cloud in clouds:
        cloud.point_step = 4  # its fields are now beyond it
    bag = bags.write(tmp_path / 'bad', clouds)
    status, stdout, stderr = run(bag, '--out', tmp_path / 'out')
    assert status == 1, stdout + stderr
    assert 'no fused frame came' in stderr
    assert 'field_beyond_point_step' in stderr
    assert 'field_beyond_point_step' in (tmp_path / 'out' / 'report.html').read_text()
    assert json.loads((tmp_path / 'out' / 'summary.json').read_text())['frames'] == 0


@pytest.mark.parametrize('end_ms', [300, 1200])
def test_a_bag_shorter_than_the_period_of_diagnostics_names_what_its_messages_lack(tmp_path, end_ms):
    clouds = bags.every(100, '/points', bags.cloud, end_ms)
    for _, _, cloud in clouds:
        cloud.width, cloud.row_step = 2, 24
    config = params_file(tmp_path, lidars=['points'], diagnostics_period=1.5, points={'voxel': {'channels': ['count']}})
    status, stdout, stderr = run(bags.write(tmp_path / 'bad', clouds), '--config', config, '--out', tmp_path / 'out')
    assert status == 1, stdout + stderr
    assert f'data_too_short {len(clouds)}' in stderr
    assert 'no publisher' not in stderr
    assert 'no message on' not in stderr


def test_a_clock_that_is_wrong_is_named_and_not_the_end_of_the_bag(tmp_path):
    clouds, images = bags.every(100, '/points', bags.cloud, 4000), bags.every(50, '/image_raw', bags.image, 4000)
    readings = bags.every(10, '/imu', lambda ms: bags.imu(ms + 37_000), 4000)
    status, stdout, stderr = run(bags.write(tmp_path / 'ahead', clouds + images + readings), '--out', tmp_path / 'out')
    assert status == 1, stdout + stderr
    assert re.search(
        r'the stamps of imu are 3[67]\.\d s ahead of those of image_raw, points: its clock is wrong', stderr
    )
    assert 'no message for' not in stderr


def test_a_bag_of_foreign_topics_and_bad_messages_is_played(tmp_path):
    channels = [
        mcap_by_hand.Channel('points', 'sensor_msgs/msg/PointCloud2', b'---'),
        mcap_by_hand.Channel('/add/_service_event', 'my/srv/Add_Event', b'int32 a\n---\n'),
        mcap_by_hand.Channel('/schemaless', '', encoding=''),
        mcap_by_hand.Channel('/json', 'std_msgs/msg/String', serialization='json'),
        mcap_by_hand.Channel('/not a name', 'std_msgs/msg/String'),
    ]
    good = [(0, ms, bytes(bags.STORE.serialize_cdr(bags.cloud(ms), T_CLOUD))) for ms in range(0, 1500, 100)]
    bad = [(k, 50 * k, b'\0\1\0') for k in range(5)] + [(0, 560, b'\0\1\0\0'.ljust(40, b'\xff'))]
    messages = [(k, bags.START_NS + ms * bags.MS, raw) for k, ms, raw in sorted(good + bad, key=lambda m: m[1])]
    file = mcap_by_hand.write(tmp_path / 'a.mcap', channels, messages, per_chunk=5)
    file.write_bytes(file.read_bytes()[:-40])
    status, stdout, stderr = run(file, *SLOWLY, '--out', tmp_path / 'out')
    assert status == 0, stdout + stderr
    assert results(tmp_path / 'out')['frames'] == len(good)
    for words in (
        '/add/_service_event',
        '/schemaless',
        "/json: its messages are 'json', not CDR",
        '/not a name',
        'a.mcap is cut off',
        '1 messages on /points are too short',
        'undeserializable',
    ):
        assert words in stdout


#: What a replay leaves in its folder; and names there of files that are none of its.
LEFT = (
    'report.html', 'summary.json', 'preprocess.yaml', 'frame.safetensors', 'sources.safetensors', 'series.json',
    'overlays.json', 'overlay_front.jpg', 'node.log',
)  # fmt: skip
OWN = 'front.jpg', 'notes.json', 'my.yaml'


def write_earlier(folder):
    """Write what a replay of another bag left, and files that are none of it; return the contents of all."""
    folder.mkdir(exist_ok=True)
    for name in (*LEFT, *OWN):
        (folder / name).write_text('earlier')
    return contents(folder)


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def played_here(monkeypatch):
    """``replay`` plays in this process."""
    monkeypatch.setattr(cli, '_enter_environment', lambda *_: None)  # it would replace this process
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def played_to_none(monkeypatch, played_here):
    """``replay`` plays in this process, to a node that does not start."""

    def refuse(self):
        raise node_process.NodeError('refused')

    monkeypatch.setattr(node_process.NodeProcess, '__enter__', refuse)


def test_a_bag_that_is_cut_while_it_is_played_is_a_defect(tmp_path, capsys, monkeypatch, played_here):
    (bag,) = write_cloud_bag(tmp_path).glob('*.mcap')
    wait_active = node_process.NodeProcess.wait_active

    def wait_and_cut(self, timeout_s):
        wait_active(self, timeout_s)
        os.truncate(bag, bag.stat().st_size // 2)

    monkeypatch.setattr(node_process.NodeProcess, 'wait_active', wait_and_cut)
    assert cli.main([str(bag), *SLOWLY, '--loop', '2', '--out', str(tmp_path / 'out')]) == 0
    summary = results(tmp_path / 'out')
    num_read = summary['published']['points'] // 2
    assert 0 < num_read < summary['bag']['messages']
    line = f'{num_read} of {summary["bag"]["messages"]} messages on /points are read'
    assert summary['bag']['defects'] == [line]
    assert f'warning: of the bag: {line}\n' in capsys.readouterr().out


def test_a_replay_that_fails_leaves_nothing_of_an_earlier_one(tmp_path, capsys, played_to_none):
    write_earlier(tmp_path / 'out')
    assert cli.main([str(write_cloud_bag(tmp_path)), '--out', str(tmp_path / 'out')]) == 1
    assert capsys.readouterr().err == 'replay: refused\n'
    left = contents(tmp_path / 'out')
    assert left.keys() == {'preprocess.yaml', *OWN}
    assert b'/points' in left['preprocess.yaml']
    assert all(left[name] == b'earlier' for name in OWN)


def test_the_configuration_of_an_earlier_replay_can_be_given(tmp_path, played_to_none):
    out = tmp_path / 'out'
    write_earlier(out)
    config = params_file(tmp_path, lidars=['points']).rename(out / 'preprocess.yaml')
    text = config.read_text()
    assert cli.main([str(write_cloud_bag(tmp_path)), '--config', str(config), '--out', str(out)]) == 1
    assert config.read_text() == text


def test_a_configuration_may_come_from_a_pipe(tmp_path, played_to_none):
    content = params_file(tmp_path, lidars=['points']).read_bytes()
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    out = tmp_path / 'out'
    assert cli.main([str(write_cloud_bag(tmp_path)), '--config', f'/dev/fd/{reading}', '--out', str(out)]) == 1
    os.close(reading)
    assert (out / 'preprocess.yaml').read_bytes() == content


def test_a_folder_by_the_name_of_a_file_is_refused_before_anything_is_removed(tmp_path, capsys, played_to_none):
    before = write_earlier(tmp_path / 'out')
    (tmp_path / 'out' / 'node.log').unlink()
    (tmp_path / 'out' / 'node.log').mkdir()
    assert cli.main([str(write_cloud_bag(tmp_path)), '--out', str(tmp_path / 'out')]) == 2
    assert f'{tmp_path}/out/node.log is a folder: ' in capsys.readouterr().err
    (tmp_path / 'out' / 'node.log').rmdir()
    assert contents(tmp_path / 'out') == {name: content for name, content in before.items() if name != 'node.log'}


def test_pictures_where_no_replay_was_are_left(tmp_path, played_to_none):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'overlay_of_mine.jpg').write_text('mine')
    assert cli.main([str(write_cloud_bag(tmp_path)), '--out', str(out)]) == 1
    assert contents(out).keys() == {'preprocess.yaml', 'overlay_of_mine.jpg'}


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_signal_ends_the_node_too(simulated, tmp_path, number):
    write_earlier(tmp_path)
    process = start(simulated, '--rate', 0.05, '--out', tmp_path)
    try:
        log = tmp_path / 'node.log'
        deadline = time.monotonic() + TIMEOUT_S
        while not (log.exists() and 'streams' in log.read_text()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
        assert children
        process.send_signal(number)
        _, stderr = process.communicate(timeout=TIMEOUT_S)
    finally:
        if process.poll() is None:
            process.kill()
    if number == signal.SIGKILL:  # then the kernel ends the node
        while any(Path(f'/proc/{child}').exists() for child in children):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    else:
        assert process.returncode == 130
        assert stderr.splitlines()[-1] == 'replay: interrupted'
    assert 'Traceback' not in stderr + log.read_text()
    assert not any(Path(f'/proc/{child}').exists() for child in children)
    assert {file.name for file in tmp_path.iterdir()} == {'preprocess.yaml', 'node.log', *OWN}


def write_text_bag(folder):
    return bags.write(folder / 'text', bags.every(100, '/chatter', bags.text))


def write_cloud_bag(folder):
    return bags.write(folder / 'clouds', bags.every(100, '/points', bags.cloud))


def params_file(folder, **parameters):
    path = folder / 'params.yaml'
    path.write_text(yaml.safe_dump({'preprocess': {'ros__parameters': parameters}}))
    return path


def broken_yaml(folder):
    path = folder / 'params.yaml'
    path.write_text('preprocess: [')
    return path


@pytest.mark.parametrize(
    ('bag', 'config', 'expected'),
    [
        (lambda at: at / 'none', None, 'no such bag'),
        (write_text_bag, None, '/chatter'),
        (write_cloud_bag, lambda at: at / 'none.yaml', 'none.yaml'),
        (write_cloud_bag, broken_yaml, 'params.yaml'),
        (write_cloud_bag, lambda at: params_file(at, lidars=['points'], points={'max_range': -1.0}), 'max_range'),
        (write_cloud_bag, lambda at: params_file(at, lidars=['a'], a={'topic': '/elsewhere'}), '/elsewhere'),
        (write_cloud_bag, lambda at: params_file(at, cameras=['points']), 'sensor_msgs/msg/Image'),
    ],
)
def test_what_cannot_be_played_is_refused_on_one_line(tmp_path, capsys, monkeypatch, bag, config, expected):
    monkeypatch.setattr(cli, '_enter_environment', lambda *_: None)  # it would replace this process
    earlier = write_earlier(tmp_path / 'out')
    arguments = [str(bag(tmp_path)), '--out', str(tmp_path / 'out')]
    if config is not None:
        arguments += ['--config', str(config(tmp_path))]
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert cli.main(arguments) == 2
    finally:
        signal.signal(signal.SIGTERM, before)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith('replay: ')
    assert expected in lines[0]
    assert contents(tmp_path / 'out') == earlier


def test_the_command_itself_refuses_it_without_a_traceback(tmp_path):
    status, stdout, stderr = run(tmp_path / 'none')
    assert (status, stdout) == (2, '')
    assert stderr.splitlines() == [f'replay: {tmp_path / "none"}: there is no such bag']


def test_live_is_offline_and_the_exported_set_to_the_bit(simulated, replayed, tmp_path):
    """The frames that came over DDS are those that the bag gives without it: digest by digest, in order."""
    out, _ = replayed
    config, node = parameters.from_file(out / 'preprocess.yaml')
    digests = [payload.digest(frame) for frame in fused_frames(simulated, config)]
    assert len(digests) > 15
    assert results(out)['sha256'] == hashlib.sha256(''.join(digests).encode()).hexdigest()
    configuration = Configuration(config, node, (out / 'preprocess.yaml').read_text())
    manifest = export([simulated], configuration, tmp_path / 'set', ['webdataset'])
    summary, (bag,) = results(out), manifest['bags']
    assert manifest['sha256'] == summary['sha256']
    valid = {name: bag['frames'] - bag['not_valid'].get(name, 0) for name in summary['valid']}
    assert (valid, bag['given_up']) == (summary['valid'], summary['targets']['given_up'])
