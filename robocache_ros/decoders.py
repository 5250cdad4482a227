# SPDX-License-Identifier: Apache-2.0
"""Threads that decode compressed images beside the thread that runs the pipeline.

An image is decoded once, by the first that comes to it: one of these threads, or the pipeline, which waits where a
thread is at it. So the threads change when pixels are there, never which.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from robocache_core.config import PipelineConfig
from robocache_core.ledger import Reason
from robocache_core.samples import CameraFrame, DataError, EncodedImage

#: Decoded images of a camera that are held at most, beside those that a frame is made of.
MAX_HELD = 4
#: Images of a camera that targets must have taken in a row for the next one to be decoded as it comes in.
LEAST_TAKEN = 2
#: Time that ``close`` gives to the images at hand.
CLOSE_S = 5.0


class Decoders:
    """Decodes ahead: an image that a target takes once the target is ready, and one that a target will probably take.

    That is one whose predecessors were taken: of a camera that is faster than the targets, most images are never used.

    Args:
        num_threads: most that are started, when they are first needed; 0: images are decoded when they are used.
    """

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._process = os.getpid()
        self._threads: list[threading.Thread] = []
        self._waiting: SimpleQueue[weakref.ref[_Decoding] | None] = SimpleQueue()
        self._cameras: dict[str, _Camera] = {}

    @staticmethod
    def of(config: PipelineConfig) -> Decoders:
        """Decoders for the cameras of a pipeline: no more than it has, and than there are cores."""
        num_cameras = sum(stream.is_compressed for stream in config.streams())
        return Decoders(min(config.compute.decode_threads, num_cameras, len(os.sched_getaffinity(0))))

    def take_in(self, name: str, image: EncodedImage) -> EncodedImage:
        """Return ``image``, which has come from camera ``name``, such that its decoding can begin ahead."""
        if not self._num_threads:
            return image
        camera = self._cameras.setdefault(name, _Camera())
        decoding = _Decoding(image.decode, camera, self._enqueue)
        if len(camera.last) == LEAST_TAKEN and all(use.taken for use in camera.last):
            decoding.enqueue()
        camera.last.append(decoding.use)
        return dataclasses.replace(image, decode=decoding.frame, begin=decoding.begin)

    def close(self) -> None:
        """End the threads. Images are decoded when they are used from then on.

        Raises:
            TimeoutError: a thread is still busy with one image after ``CLOSE_S``; it ends after that.
        """
        self._num_threads = 0
        threads, self._threads = self._threads, []
        for _ in threads:
            self._waiting.put(None)
        for thread in threads:
            thread.join(CLOSE_S)
        if any(thread.is_alive() for thread in threads):
            raise TimeoutError(f'an image is still being decoded after {CLOSE_S} s')

    def _enqueue(self, decoding: _Decoding) -> None:
        if not self._num_threads or os.getpid() != self._process:  # threads do not survive a fork
            return
        if len(self._threads) < self._num_threads:
            thread = threading.Thread(target=self._run, name='robocache-decoder', daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the process may have no more: those that run do the work, or the pipeline does
                self._num_threads = len(self._threads)
            else:
                self._threads.append(thread)
        if self._threads:
            self._waiting.put(weakref.ref(decoding))  # an image that is dropped meanwhile is not decoded

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            decoding = waiting()
            if decoding is not None:
                decoding.run()
            del decoding


class _Use:
    """Whether a target has taken an image; outlives it."""

    taken = False


class _Camera:
    """What is known of a camera's images."""

    def __init__(self) -> None:
        self.last: deque[_Use] = deque(maxlen=LEAST_TAKEN)
        self.ahead: weakref.WeakSet[_Decoding] = weakref.WeakSet()


class _Decoding:
    """One image."""

    def __init__(
        self, decode: Callable[[], CameraFrame], camera: _Camera, enqueue: Callable[[_Decoding], None]
    ) -> None:
        self.use = _Use()
        self._decode = decode
        self._camera = camera
        self._enqueue = enqueue
        self._process = os.getpid()
        #: Held while the image is decoded.
        self._lock = threading.Lock()
        self._is_kept = False
        self._frame: CameraFrame | None = None
        self._refusal: tuple[Reason, str] | None = None

    def begin(self) -> None:
        """Have it decoded ahead, since a target takes it."""
        self.use.taken = True
        self.enqueue()

    def enqueue(self) -> None:
        """Queue it for a thread, unless it was queued before, or too many of the camera are held."""
        if not self._is_kept and len(self._camera.ahead) < MAX_HELD:
            self._is_kept = True
            self._camera.ahead.add(self)
            self._enqueue(self)

    def run(self) -> None:
        """Decode it on the thread that calls this, unless another one does."""
        if self._lock.acquire(blocking=False):
            try:
                self._result()
            except Exception:
                return  # the pipeline meets it again, and knows what to do, if it uses the image
            finally:
                self._lock.release()

    def frame(self) -> CameraFrame:
        """Return the decoded image, waiting where another thread is at it; raises what decoding raises."""
        self.use.taken = True
        if os.getpid() != self._process:
            return self._decode()  # a thread that held the lock did not come along
        with self._lock:
            return self._result()

    def _result(self) -> CameraFrame:
        if self._refusal is not None:
            raise DataError(*self._refusal)
        if self._frame is not None:
            return self._frame
        try:
            frame = self._decode()
        except DataError as error:
            self._refusal = error.reason, str(error)
            raise
        if self._is_kept:
            self._frame = frame
        return frame
