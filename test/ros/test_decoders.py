# SPDX-License-Identifier: Apache-2.0
"""Images that are decoded ahead: once, in bounds, with the same result, whatever ends it."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import replace

import pytest
from support.decoding import WAIT_S, Camera

from robocache_core.config import CameraConfig, PipelineConfig
from robocache_core.ledger import Reason
from robocache_core.samples import DataError, EncodedImage
from robocache_ros import decoders
from robocache_ros.decoders import LEAST_TAKEN, MAX_HELD, Decoders


@pytest.fixture
def camera():
    made = Camera()
    yield made
    made.go.set()
    made.decoders.close()


def test_an_image_that_a_target_takes_is_decoded_on_another_thread_and_once(camera):
    image = camera.image()
    image.begin()
    image.begin()
    camera.wait_for_one()
    first = image.decode()
    assert image.decode() is first
    assert camera.decoded == [(0, 'robocache-decoder')]


def test_an_image_that_no_target_takes_is_not_decoded(camera):
    kept = [camera.image(number) for number in range(5)]
    camera.decoders.close()
    assert camera.decoded == []
    assert len(kept) == 5  # none was dropped


def test_images_of_several_cameras_are_decoded_at_the_same_time(camera):
    camera.go.clear()
    images = [camera.image(0), camera.image(1)]
    for image in images:
        image.begin()
    for _ in images:
        camera.wait_for_one()  # neither has ended
    camera.go.set()
    assert [image.decode().stamp_ns for image in images] == [0, 1]


def test_who_needs_an_image_that_still_waits_decodes_it(camera):
    camera.occupy()
    waiting = camera.image(2)
    waiting.begin()
    camera.go.set()
    assert waiting.decode().stamp_ns == 2
    camera.decoders.close()
    assert sorted(camera.numbers) == [0, 1, 2]


def test_an_image_is_decoded_as_it_comes_in_where_those_before_it_were_taken(camera):
    for number in range(LEAST_TAKEN):
        camera.image(number).decode()
        camera.wait_for_one()
    probable = camera.image(10)
    camera.wait_for_one()
    assert camera.decoded[-1] == (10, 'robocache-decoder')
    kept = [camera.image(11), camera.image(12)]
    camera.decoders.close()
    assert not {11, 12} & set(camera.numbers)  # as long as nobody has taken the one before
    assert len(kept) == 2
    assert probable.decode().stamp_ns == 10
    assert camera.numbers.count(10) == 1


def test_an_image_can_be_decoded_on_the_thread_on_which_it_comes(camera):
    coming = camera.probable(10)
    coming.here()
    assert camera.decoded[-1] == (10, threading.current_thread().name)
    coming.here()
    coming.image.begin()
    assert coming.image.decode().stamp_ns == 10
    assert camera.numbers.count(10) == 1


def test_images_that_take_long_are_left_to_other_threads_until_they_do_not(camera, monkeypatch):
    monkeypatch.setattr(decoders, 'MOST_HERE_S', 0.0)
    camera.probable(10).here()  # the first one shows how long they take
    camera.wait_for_one()
    assert camera.decoded[-1] == (10, threading.current_thread().name)
    coming = camera.probable(20)
    coming.here()
    camera.wait_for_one()
    assert camera.decoded[-1] == (20, 'robocache-decoder')
    monkeypatch.setattr(decoders, 'MOST_HERE_S', 60.0)
    camera.probable(30).here()
    assert camera.decoded[-1] == (30, threading.current_thread().name)


def test_no_more_images_are_decoded_ahead_side_by_side_than_there_are_threads():
    camera = Camera(num_threads=1)
    first, second = camera.probable(10), camera.probable(20, 'rear')
    camera.go.clear()
    reader = threading.Thread(target=first.here)
    reader.start()
    camera.wait_for_one()
    second.here()  # returns at once: it waits for a thread
    assert 20 not in camera.numbers
    camera.go.set()
    reader.join()
    camera.wait_for_one()
    assert camera.decoded[-1] == (20, 'robocache-decoder')
    camera.decoders.close()


def test_an_image_that_is_dropped_while_it_waits_is_not_decoded(camera):
    camera.occupy()
    camera.image(2).begin()  # and is gone
    camera.go.set()
    camera.decoders.close()
    assert camera.numbers == [0, 1]


def test_no_more_images_are_held_than_there_is_room_for(camera):
    images = [camera.image(number) for number in range(3 * MAX_HELD)]
    for image in images:
        image.begin()
    for _ in range(MAX_HELD):
        camera.wait_for_one()
    camera.decoders.close()
    assert camera.numbers == list(range(MAX_HELD))
    assert [image.decode().stamp_ns for image in images] == list(range(3 * MAX_HELD))
    images[-1].decode()
    assert camera.numbers.count(3 * MAX_HELD - 1) == 2  # it had no room, and was decoded in its turn


def test_there_is_room_again_once_images_are_dropped(camera):
    for number in range(3 * MAX_HELD):
        image = camera.image(number)
        image.begin()
        camera.wait_for_one()
        image.decode()
    assert [name for _, name in camera.decoded] == ['robocache-decoder'] * (3 * MAX_HELD)


def test_a_dropped_image_keeps_nothing_alive(camera):
    image = camera.image()
    image.begin()
    camera.wait_for_one()
    pixels = weakref.ref(image.decode().data)
    camera.decoders.close()  # the thread has let go of it
    gc.disable()
    try:
        del image
        assert pixels() is None
    finally:
        gc.enable()


def test_an_image_that_is_refused_is_refused_whenever_it_is_used():
    camera = Camera(fault=DataError(Reason.DECODE_FAILED, 'the image is damaged'))
    image = camera.image()
    image.begin()
    camera.wait_for_one()
    for _ in range(2):
        with pytest.raises(DataError, match='the image is damaged') as error:
            image.decode()
        assert error.value.reason == Reason.DECODE_FAILED
    camera.decoders.close()
    assert camera.numbers == [0]


def test_a_fault_that_nothing_foresees_is_met_where_the_image_is_used():
    camera = Camera(fault=ZeroDivisionError('a fault of the decoder'))
    image = camera.image()
    image.begin()
    camera.wait_for_one()
    with pytest.raises(ZeroDivisionError, match='a fault of the decoder'):
        image.decode()
    camera.fault = None
    other = camera.image(1)
    other.begin()
    assert other.decode().stamp_ns == 1  # the threads go on
    camera.decoders.close()


def test_closing_waits_for_the_image_at_hand_alone(camera):
    camera.go.clear()
    images = [camera.image(number) for number in range(4)]
    for image in images:
        image.begin()
    for _ in range(2):
        camera.wait_for_one()
    threads = list(camera.decoders._threads)

    def let_go_once_it_closes():
        while camera.decoders._num_threads:
            time.sleep(0.001)
        camera.go.set()

    threading.Thread(target=let_go_once_it_closes).start()
    camera.decoders.close()
    assert set(camera.numbers) >= {0, 1}
    assert not any(thread.is_alive() for thread in threads)
    assert [image.decode().stamp_ns for image in images] == [0, 1, 2, 3]  # as before, in their turn


def test_closing_does_not_wait_for_ever(camera, monkeypatch):
    monkeypatch.setattr(decoders, 'CLOSE_S', 0.01)
    camera.go.clear()
    image = camera.image()
    image.begin()
    camera.wait_for_one()
    with pytest.raises(TimeoutError, match='an image is still being decoded'):
        camera.decoders.close()
    camera.go.set()
    assert image.decode().stamp_ns == 0


def test_where_no_thread_can_be_started_images_are_decoded_in_their_turn(monkeypatch):
    def refused(thread):
        raise RuntimeError("can't start new thread")

    camera = Camera()
    monkeypatch.setattr(threading.Thread, 'start', refused)
    image = camera.image()
    image.begin()
    assert image.decode().stamp_ns == 0
    assert camera.decoded == [(0, 'MainThread')]
    camera.decoders.close()


FORKED = """
import os, sys, threading
sys.path.insert(0, 'test')
from support.decoding import Camera
camera = Camera()
camera.go.clear()
images = [camera.image(number) for number in range(3)]
for image in images[:2]:
    image.begin()
    camera.wait_for_one()
child = os.fork()
camera.go.set()
stamps = [image.decode().stamp_ns for image in images]
images[2].begin()
if not child:
    for number in range(3, 20):
        image = camera.image(number)
        image.begin()
        stamps.append(image.decode().stamp_ns)
    assert stamps == list(range(20))
    assert camera.decoders._waiting.qsize() == 0
    camera.decoders.close()
    os._exit(0)
_, status = os.waitpid(child, 0)
camera.decoders.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_process_that_forks_leaves_its_threads_behind():
    """In the child nobody holds the lock of the image that a thread was at, or waits for those that still come."""
    run = subprocess.run([sys.executable, '-c', FORKED], timeout=WAIT_S, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ('cameras', 'threads', 'expected'),
    [
        (('a/compressed', 'b/compressed', 'c'), 4, 2),
        (('a/compressed', 'b/compressed'), 1, 1),
        (('a/compressed',), 0, 0),
        (('a',), 4, 0),
    ],
)
def test_as_many_threads_as_compressed_cameras_and_cores(monkeypatch, cameras, threads, expected):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(16)))
    config = PipelineConfig(cameras=tuple(CameraConfig(topic[0], topic=topic) for topic in cameras))
    config = replace(config, compute=replace(config.compute, decode_threads=threads))
    made = Decoders.of(config)
    assert made._num_threads == expected
    image = EncodedImage(0, 'a', 1, lambda: None)
    assert (made.take_in('a', image).image is image) == (expected == 0)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {0})
    assert Decoders.of(config)._num_threads == min(expected, 1)
