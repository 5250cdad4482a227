# SPDX-License-Identifier: Apache-2.0
"""Compressed images are decoded beside the thread that runs the pipeline.

An image is decoded once, by the first that comes to it: the thread on which it arrives, one of a few threads for those
that a target turns out to take, or the pipeline, which waits where another is at it. So threads change when pixels are
there, never which.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from robocache_core.config import PipelineConfig
from robocache_core.ledger import Reason
from robocache_core.samples import CameraFrame, DataError, EncodedImage

#: Decoded images of a camera that are held at most, beside those that a frame is made of.
MAX_HELD = 4
#: Images of a camera that targets must have taken in a row for the next one to be decoded as it comes in.
LEAST_TAKEN = 2
#: A camera whose last image took longer has the next ones decoded on other threads than that on which they come, s:
#: messages that come meanwhile wait in the middleware, whose queue has no rules and counts no loss.
MOST_HERE_S = 0.02
#: Time that ``close`` gives to the images at hand.
CLOSE_S = 5.0


class Decoders:
    """Decodes ahead: an image that a target takes once the target is ready, and one that a target will probably take.

    That is one whose predecessors were taken: of a camera that is faster than the targets, most images are never used.

    Args:
        num_threads: most images that are decoded ahead side by side, and most threads that are started, when they are
            first needed; 0: images are decoded when they are used.
    """

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._process = os.getpid()
        self._threads: list[threading.Thread] = []
        self._waiting: SimpleQueue[weakref.ref[_Once] | None] = SimpleQueue()
        self._slots = threading.Semaphore(num_threads)
        self._lock = threading.Lock()
        self._cameras: dict[str, _Camera] = {}

    @staticmethod
    def of(config: PipelineConfig) -> Decoders:
        """Decoders for the cameras of a pipeline: no more than it has, and than there are cores."""
        num_cameras = sum(stream.is_compressed for stream in config.streams())
        return Decoders(min(config.compute.decode_threads, num_cameras, len(os.sched_getaffinity(0))))

    def take_in(self, name: str, image: EncodedImage) -> Decoding:
        """Return what decodes ``image``, which has come from camera ``name``; of a camera on one thread at a time."""
        if not self._num_threads or self._is_forked:
            return Decoding(image)
        camera = self._cameras.setdefault(name, _Camera())
        is_probable = len(camera.last) == LEAST_TAKEN and all(use.taken for use in camera.last)
        once = _Once(image.decode, camera, self._enqueue)
        camera.last.append(once.use)
        image = dataclasses.replace(image, decode=once.frame, begin=once.begin)
        if not is_probable:
            return Decoding(image)
        return Decoding(image, here=functools.partial(self._decode_here, once), elsewhere=once.enqueue)

    def close(self) -> None:
        """End the threads. Images are decoded when they are used from then on.

        Raises:
            TimeoutError: a thread is still busy with one image after ``CLOSE_S``; it ends after that.
        """
        if self._is_forked:
            return
        with self._lock:
            self._num_threads = 0
            threads, self._threads = self._threads, []
        for _ in threads:
            self._waiting.put(None)
        for thread in threads:
            thread.join(CLOSE_S)
        if any(thread.is_alive() for thread in threads):
            raise TimeoutError(f'an image is still being decoded after {CLOSE_S} s')

    @property
    def _is_forked(self) -> bool:
        """Whether this is a child process: neither threads nor the state of locks survive a fork."""
        return os.getpid() != self._process

    def _decode_here(self, once: _Once) -> None:
        """Decode an image on the thread that calls this, if that is quick, and as many may be decoded ahead."""
        if not once.is_quick or not self._slots.acquire(blocking=False):
            once.enqueue()
            return
        try:
            if once.claim():
                once.run()
        finally:
            self._slots.release()

    def _enqueue(self, once: _Once) -> None:
        with self._lock:
            if not self._num_threads:
                return
            if len(self._threads) < self._num_threads:
                self._start_thread()
            if self._threads:
                self._waiting.put(weakref.ref(once))  # an image that is dropped meanwhile is not decoded

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name='robocache-decoder', daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the process may have no more: those that run do the work, or the pipeline does
            self._num_threads = len(self._threads)
        else:
            self._threads.append(thread)

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            with self._slots:
                once = waiting()
                if once is not None:
                    once.run()
                del once


@dataclass(frozen=True)
class Decoding:
    """An image that has come, and how it is decoded ahead; one that no target will probably take is not.

    Attributes:
        image: decoded once, whoever needs it.
        here: decodes it on the thread that calls this.
        elsewhere: has it decoded on another thread.
    """

    image: EncodedImage
    here: Callable[[], None] = lambda: None
    elsewhere: Callable[[], None] = lambda: None


class _Use:
    """Whether a target has taken an image; outlives it."""

    taken = False


class _Camera:
    """What is known of a camera's images."""

    def __init__(self) -> None:
        self.last: deque[_Use] = deque(maxlen=LEAST_TAKEN)
        self.ahead: weakref.WeakSet[_Once] = weakref.WeakSet()
        self.lock = threading.Lock()
        #: How long the last one took to decode ahead.
        self.took_s = 0.0


class _Once:
    """One image, decoded once."""

    def __init__(self, decode: Callable[[], CameraFrame], camera: _Camera, enqueue: Callable[[_Once], None]) -> None:
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

    @property
    def is_quick(self) -> bool:
        """Whether it will probably be decoded soon, as the last one of its camera was."""
        return self._camera.took_s <= MOST_HERE_S

    def begin(self) -> None:
        """Have it decoded ahead, since a target takes it."""
        self.use.taken = True
        self.enqueue()

    def enqueue(self) -> None:
        """Queue it for a thread, if it may be decoded ahead."""
        if self.claim():
            self._enqueue(self)

    def claim(self) -> bool:
        """Whether it may be decoded ahead: nobody has claimed it before, and not too many of the camera are held."""
        if os.getpid() != self._process:  # the lock may be held by a thread that did not come along
            return False
        with self._camera.lock:
            if self._is_kept or len(self._camera.ahead) >= MAX_HELD:
                return False
            self._is_kept = True
            self._camera.ahead.add(self)
            return True

    def run(self) -> None:
        """Decode it on the thread that calls this, unless another one does."""
        if self._lock.acquire(blocking=False):
            begin = time.monotonic()
            try:
                self._result()
            except Exception:
                return  # the pipeline meets it again, and knows what to do, if it uses the image
            finally:
                self._lock.release()
                self._camera.took_s = time.monotonic() - begin

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
