# SPDX-License-Identifier: Apache-2.0
"""A camera whose images can be watched while they are decoded."""

import threading

import torch

from robocache_core.samples import CameraFrame, EncodedImage
from robocache_ros.decoders import LEAST_TAKEN, Decoders

WAIT_S = 30


class Camera:
    """Images whose decoding is counted, and waits until it is let go."""

    def __init__(self, num_threads=2, fault=None):
        self.decoders = Decoders(num_threads)
        self.fault = fault
        self.decoded = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()

    def take_in(self, number=0, name='front'):
        return self.decoders.take_in(name, EncodedImage(number, name, 10, lambda: self._decode(number)))

    def probable(self, number, name='front'):
        """As ``take_in``, of an image whose predecessors were taken."""
        for before in range(LEAST_TAKEN):
            self.take_in(number + 1 + before, name).image.decode()
            self.wait_for_one()
        return self.take_in(number, name)

    def image(self, number=0):
        """An image as the thread that runs the pipeline takes it in."""
        decoding = self.take_in(number)
        decoding.elsewhere()
        return decoding.image

    def _decode(self, number):
        self.decoded.append((number, threading.current_thread().name))
        self.begun.release()
        assert self.go.wait(WAIT_S)
        if self.fault is not None:
            raise self.fault
        return CameraFrame(number, 'front', torch.zeros(12, dtype=torch.uint8), 'bgr8', 2, 2, 6)

    def occupy(self):
        """Have both threads decode until ``go``: images 0 and 1."""
        self.go.clear()
        self.busy = [self.image(0), self.image(1)]  # kept: one that is dropped is not decoded
        for image in self.busy:
            image.begin()
            self.wait_for_one()

    def wait_for_one(self):
        assert self.begun.acquire(timeout=WAIT_S)

    @property
    def numbers(self):
        return [number for number, _ in self.decoded]
