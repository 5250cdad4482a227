# SPDX-License-Identifier: Apache-2.0
"""Damaged JPEGs, dropped or kept and marked invalid: in a frame, in the ledger, in diagnostics, live and offline."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import CompressedImage
from support import bags
from support.cameras import smooth_image
from support.live import Live
from support.runtime import LIDAR, Bench, assert_adds_up, cloud, header, make

from robocache_core import payload
from robocache_core.config import CameraConfig, PipelineConfig
from robocache_core.pipeline import Pipeline
from robocache_ros.offline import fused_frames

WIDTH, HEIGHT = 160, 96
FRONT = CameraConfig(
    'front', topic='/front/compressed', width=WIDTH, height=HEIGHT, required=False, dtype='float32', scale=1.0
)
KEEP = dataclasses.replace(FRONT, damaged='keep')


def whole(suffix: str = '.jpg', *flags: int) -> bytes:
    return cv2.imencode(suffix, smooth_image(WIDTH, HEIGHT), flags)[1].tobytes()


def cut(data: bytes, share: float = 0.5) -> bytes:
    """The first bytes of an image, without its end."""
    return data[: int(share * len(data))]


def hollow(data: bytes) -> bytes:
    """An image that lost a part of its data and kept its end."""
    return cut(data, 0.7) + data[-2:]


PROGRESSIVE = whole('.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
#: By name, an image, what is wrong with it, and whether it can be kept.
DAMAGED = {
    'data lost': (hollow(whole()), 'is damaged: its data end too early', True),
    'cut short': (cut(whole()), 'cut short: its end is missing', True),
    'its end alone lost': (whole()[:-2], 'cut short: its end is missing', True),
    'progressive, cut short': (cut(PROGRESSIVE, 0.6), 'cut short: its end is missing', True),
    'cut in the header': (whole()[:300], 'cut short: its end is missing', False),
    'no JPEG': (b'\xff\xd8\xff\xe0\x00\x04\x00\x00\xff\xd9', 'cannot be decoded', False),
    'a PNG cut short': (cut(whole('.png')), 'cut short: its end is missing', False),
}
WHOLE = {'jpeg': whole(), 'progressive': PROGRESSIVE, 'png': whole('.png')}


def message(ms: int, data: bytes = WHOLE['jpeg']) -> CompressedImage:
    return CompressedImage(header=header(ms), format='', data=data)


def driven(config: PipelineConfig, *items: tuple[str, object]) -> Bench:
    bench = make(config)
    for name, each in items:
        bench.put(name, each)
    bench.work()
    bench.runtime.pipeline.give_up()
    bench.work()
    assert_adds_up(bench.runtime)
    return bench


def counts(bench: Bench) -> tuple[int, dict[str, int]]:
    found = bench.runtime.pipeline.ledger['front'].counts()
    return found.used, found.dropped


@pytest.mark.parametrize('name', [name for name, (_, _, can_be_kept) in DAMAGED.items() if can_be_kept])
@pytest.mark.parametrize('threads', [0, 2])
def test_a_damaged_image_is_kept_and_marked(name: str, threads: int) -> None:
    data, text, _ = DAMAGED[name]
    config = PipelineConfig(cameras=(KEEP,))
    config = dataclasses.replace(config, compute=dataclasses.replace(config.compute, decode_threads=threads))
    bench = driven(config, ('front', message(0, data)), ('front', message(100)))
    damaged, good = bench.frames
    assert (damaged.valid, damaged.damaged, list(damaged.age_ns)) == ({'front': False}, ('front',), ['front'])
    assert (good.valid, good.damaged) == ({'front': True}, ())
    # The upper rows are those of the whole image.
    assert (damaged.tensors['front'] - good.tensors['front'])[:, : HEIGHT // 8].abs().max() < 40
    assert counts(bench) == (2, {})
    assert bench.runtime.pipeline.damaged == {'front': 1}
    (line,) = bench.log.of('warning')
    assert line.startswith(f'front: message used, invalid in the frame (decode_failed): the image of {len(data)} bytes')
    assert text in line


@pytest.mark.parametrize('name', DAMAGED)
def test_a_damaged_image_is_dropped_where_nothing_else_is_said(name: str) -> None:
    data, text, _ = DAMAGED[name]
    bench = driven(PipelineConfig(cameras=(FRONT,)), ('front', message(0, data)), ('front', message(100)))
    assert counts(bench) == (1, {'decode_failed': 1})
    assert bench.frames[-1].valid == {'front': True}
    assert all(not frame.damaged for frame in bench.frames)
    assert bench.runtime.pipeline.damaged == {'front': 0}
    assert text in bench.log.of('warning')[0]


@pytest.mark.parametrize('name', [name for name, (_, _, can_be_kept) in DAMAGED.items() if not can_be_kept])
def test_what_cannot_be_decoded_is_dropped_all_the_same(name: str) -> None:
    bench = driven(PipelineConfig(cameras=(KEEP,)), ('front', message(0, DAMAGED[name][0])), ('front', message(100)))
    assert counts(bench) == (1, {'decode_failed': 1})


@pytest.mark.parametrize('name', WHOLE)
def test_a_whole_image_is_valid(name: str) -> None:
    found = [driven(PipelineConfig(cameras=(each,)), ('front', message(0, WHOLE[name]))) for each in (KEEP, FRONT)]
    kept, dropped = (bench.frames[0] for bench in found)
    assert kept.valid == {'front': True}
    assert payload.digest(kept) == payload.digest(dropped)


def test_a_target_that_requires_the_camera_is_dropped() -> None:
    """As with any image that turns out to be bad: the target, and the image, for that reason."""
    required = dataclasses.replace(KEEP, required=True)
    for camera in (required, dataclasses.replace(required, damaged='drop')):
        bench = driven(
            PipelineConfig(cameras=(camera,)), ('front', message(0, DAMAGED['data lost'][0])), ('front', message(100))
        )
        assert [frame.valid for frame in bench.frames] == [{'front': True}]
        assert counts(bench) == (1, {'decode_failed': 1})
        assert bench.runtime.pipeline.targets.counts().dropped == {'decode_failed:front': 1}


def test_an_image_that_several_frames_hold_is_counted_once() -> None:
    config = PipelineConfig(lidars=(LIDAR,), cameras=(KEEP,))
    items = [('lidar', cloud(ms)) for ms in (0, 50, 100)]
    bench = driven(config, ('front', message(50, DAMAGED['data lost'][0])), *items)
    assert [frame.damaged for frame in bench.frames] == [('front',)] * 3
    assert [frame.valid for frame in bench.frames] == [{'lidar': True, 'front': False}] * 3
    assert bench.runtime.pipeline.damaged == {'lidar': 0, 'front': 1}
    assert counts(bench) == (1, {})


def test_diagnostics_count_what_was_kept_by_reason() -> None:
    bench = make(PipelineConfig(cameras=(KEEP,)))
    for ms in range(0, 1000, 100):
        bench.clock.advance(0.1)
        bench.put('front', message(ms, DAMAGED['data lost'][0] if ms in (300, 500) else WHOLE['jpeg']))
        bench.work()
    status = bench.report()['input front']
    values = {pair.key: pair.value for pair in status.values}
    assert status.level == DiagnosticStatus.WARN
    assert status.message == 'used though damaged, invalid in the frame: 2 decode_failed'
    assert (values['used'], values['held'], values['invalid.decode_failed']) == ('10', '0', '2')
    assert 'its data end too early' in values['last.invalid.decode_failed']
    assert 'dropped.decode_failed' not in values
    bench.clock.advance(0.1)
    bench.put('front', message(1000))
    bench.work()
    status = bench.report()['input front']
    assert (status.level, {pair.key: pair.value for pair in status.values}['invalid.decode_failed']) == (
        DiagnosticStatus.OK,
        '2',
    )


@pytest.mark.parametrize('scale', [1, 4])
@pytest.mark.parametrize('damaged', ['drop', 'keep'])
def test_live_and_offline_do_the_same(tmp_path: Path, damaged: str, scale: int) -> None:
    kinds = list(DAMAGED)
    sent = [DAMAGED[kinds[i // 3 % len(kinds)]][0] if i % 3 == 1 else WHOLE['jpeg'] for i in range(3 * len(kinds))]
    made = bags.T['sensor_msgs/msg/CompressedImage']
    messages = [
        (100 * i, FRONT.topic, made(bags.header(100 * i), '', np.frombuffer(data, np.uint8)))
        for i, data in enumerate(sent)
    ]
    bag = bags.write(tmp_path / 'bag', messages)
    values = {'cameras': ['front'], 'front.topic': FRONT.topic, 'front.width': WIDTH, 'front.height': HEIGHT}
    values |= {'front.required': False, 'front.dtype': 'float32', 'front.scale': 1.0}
    live = Live(bag, values | {'front.damaged': damaged, 'front.decode_scale': scale})
    config = PipelineConfig(cameras=(dataclasses.replace(FRONT, damaged=damaged, decode_scale=scale),))
    pipeline = Pipeline(config)
    frames = fused_frames(bag, config, pipeline)
    offline = list(frames)
    assert len(live.frames) >= len(sent) - 9  # offline gives up waiting at the end of the bag
    assert [payload.digest(frame) for frame in live.frames] == [
        payload.digest(frame) for frame in offline[: len(live.frames)]
    ]
    assert live.counts['front'].dropped == pipeline.ledger['front'].counts().dropped
    num_kept = sum(can_be_kept for _, _, can_be_kept in DAMAGED.values()) if damaged == 'keep' else 0
    assert pipeline.damaged == {'front': num_kept} == {'front': sum(map(len, (frame.damaged for frame in offline)))}
    assert pipeline.ledger['front'].counts().dropped == {'decode_failed': len(DAMAGED) - num_kept}
