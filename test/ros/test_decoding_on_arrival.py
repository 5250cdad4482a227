# SPDX-License-Identifier: Apache-2.0
"""Compressed images are opened, and where a target will probably take them decoded, on the thread they come on."""

import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage
from support.runtime import assert_adds_up, header, make

from robocache_core.config import CameraConfig, PipelineConfig
from robocache_ros import decode_image
from robocache_ros.decoders import LEAST_TAKEN
from robocache_ros.message import Serialized

FRONT = CameraConfig('front', topic='/front/compressed', width=16, height=8)
CONFIG = PipelineConfig(cameras=(FRONT,))
NUM_IMAGES = LEAST_TAKEN + 3


def jpeg(number):
    pixels = np.random.default_rng(number).integers(0, 256, (8, 16, 3), np.uint8)
    return image(number, cv2.imencode('.jpg', pixels)[1].tobytes())


def image(number, data):
    return CompressedImage(header=header(100 * number, 'front'), format='jpeg', data=data)


def put_on_a_thread(bench, raw):
    """Put a serialized message as its reader does, and wait until that is done."""

    def read():
        decoding = bench.runtime.put('front', Serialized(raw))
        if decoding is not None:
            decoding.here()

    thread = threading.Thread(target=read, name='reader')
    thread.start()
    thread.join()


@pytest.fixture
def decoded_on(monkeypatch):
    """By which threads images were decoded."""
    threads, decode = [], decode_image._decode_pixels

    def noted(*args):
        threads.append(threading.current_thread().name)
        return decode(*args)

    monkeypatch.setattr(decode_image, '_decode_pixels', noted)
    return threads


def played(config, messages):
    bench = make(config)
    for message in messages:
        put_on_a_thread(bench, serialize_message(message))
        bench.work()
    bench.runtime.pipeline.give_up()
    bench.work()
    bench.runtime.close()
    return bench


def test_images_that_targets_take_are_decoded_as_they_come(decoded_on):
    bench = played(CONFIG, map(jpeg, range(NUM_IMAGES)))
    assert len(bench.frames) == len(decoded_on) == NUM_IMAGES
    assert decoded_on[LEAST_TAKEN:] == ['reader'] * (NUM_IMAGES - LEAST_TAKEN)


def test_without_threads_they_are_decoded_in_their_turn_with_the_same_result(decoded_on):
    in_turn = replace(CONFIG, compute=replace(CONFIG.compute, decode_threads=0))
    frames = [played(config, map(jpeg, range(NUM_IMAGES))).frames for config in (CONFIG, in_turn)]
    assert 'reader' not in decoded_on[NUM_IMAGES:]
    for one, other in zip(*frames, strict=True):
        assert one.stamp_ns == other.stamp_ns
        assert torch.equal(one.tensors['front'], other.tensors['front'])


def test_images_that_no_target_takes_are_not_decoded_as_they_come(decoded_on):
    """A camera of ten images a target: most are never used."""
    bench = make(replace(CONFIG, sync=replace(CONFIG.sync, rate_hz=1.0)))
    for number in range(30):
        put_on_a_thread(bench, serialize_message(jpeg(number)))
        bench.work()
    assert decoded_on.count('reader') <= 3
    assert len(decoded_on) <= 6
    bench.runtime.close()


def test_images_whose_arrival_counts_are_not_decoded_as_they_come(decoded_on):
    """The one behind would be taken, and stamped, later."""
    bench = make(PipelineConfig(cameras=(replace(FRONT, stamp='arrival'),)))
    for number in range(NUM_IMAGES):
        bench.clock.advance(0.1)
        put_on_a_thread(bench, serialize_message(jpeg(number)))
        bench.work()
    bench.runtime.close()
    assert len(bench.frames) == len(decoded_on) == NUM_IMAGES
    assert 'reader' not in decoded_on


@pytest.mark.parametrize('fault', ['cut', 'no JPEG', 'damaged', 'no message'])
def test_an_image_that_is_refused_is_counted_once(fault, decoded_on):
    data = bytes(jpeg(NUM_IMAGES).data)
    raw = {
        'cut': serialize_message(image(NUM_IMAGES, data[: len(data) // 2])),
        'no JPEG': serialize_message(image(NUM_IMAGES, bytes(100))),
        'damaged': serialize_message(image(NUM_IMAGES, data[:-62] + b'\xff\0' * 30 + data[-2:])),
        'no message': serialize_message(image(NUM_IMAGES, data))[:-30],
    }[fault]
    bench = make(CONFIG)
    for number in range(NUM_IMAGES):
        put_on_a_thread(bench, serialize_message(jpeg(number)))
        bench.work()
    put_on_a_thread(bench, raw)
    bench.work()
    put_on_a_thread(bench, serialize_message(jpeg(NUM_IMAGES + 1)))
    bench.work()
    bench.runtime.pipeline.give_up()
    bench.work()
    counts = bench.runtime.pipeline.ledger['front'].counts()
    expected = 'undeserializable' if fault == 'no message' else 'decode_failed'
    assert {str(reason): n for reason, n in counts.dropped.items()} == {expected: 1}
    assert len(bench.frames) == NUM_IMAGES + 1
    assert_adds_up(bench.runtime)
    bench.runtime.close()
