# SPDX-License-Identifier: Apache-2.0
"""A bag through the node over DDS, message by message, for tests that compare it with the same bag offline."""

import threading
import time

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter

from robocache_ros.bags import open_bag
from robocache_ros.node import PreprocessNode
from robocache_ros.sources import routes
from robocache_ros.subscriber import FusedSubscriber


class Live:
    """The node, a peer that publishes the bag's messages in their order, and the frames that come back."""

    def __init__(self, bag, values):
        self.frames = []
        rclpy.init()
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        self.node = PreprocessNode(parameter_overrides=overrides)
        self.peer = rclpy.create_node('peer')
        fused = FusedSubscriber(self.peer, self.frames.append)
        executor = SingleThreadedExecutor()
        executor.add_node(self.node)
        executor.add_node(self.peer)
        thread = threading.Thread(target=executor.spin)
        thread.start()
        try:
            self.node.trigger_configure()
            self.node.trigger_activate()
            self.routes = {route.absolute_topic: route for route in routes(self.node.pipeline.config)}
            publishers = {t: self.peer.create_publisher(r.message, t, 100) for t, r in self.routes.items()}
            self.until(lambda: all(p.get_subscription_count() for p in publishers.values()), 'the subscriptions')
            (output,) = (each for each in self.node.publishers if each.topic_name == '/preprocess/fused')
            self.until(output.get_subscription_count, 'the fused topic')
            sent = self.publish(bag, publishers)
            ledger = self.node.pipeline.ledger
            self.until(lambda: {n: a.counts().received for n, a in ledger.items()} == sent, 'the messages')
            self.until(lambda: len(self.frames) == self.node.pipeline.targets.counts().used, 'the frames')
            self.until(
                lambda: all(a.counts().held == self.node.pipeline.num_held(n) for n, a in ledger.items()), 'the worker'
            )
            self.counts = {name: account.counts() for name, account in ledger.items()}
            self.held = {name: self.node.pipeline.num_held(name) for name in ledger}
        finally:
            executor.shutdown()
            thread.join()
            self.node.release()
            self.node.destroy_node()
            self.peer.destroy_node()
            rclpy.shutdown()
        del fused

    def publish(self, bag, publishers):
        sent = dict.fromkeys(self.node.pipeline.streams, 0)
        for topic, _, raw in open_bag(bag).messages(self.routes):
            route = self.routes[topic]
            name = route.stream.name
            publishers[topic].publish(bytes(raw))
            if route.is_calibration:  # a later one that is the same would change nothing
                self.until(lambda n=name: self.node.pipeline._streams[n].info is not None, 'a calibration')
                continue
            sent[name] += 1
            # One after the other: two topics have no common order of their own.
            self.until(lambda n=name: self.node.pipeline.ledger[n].counts().received == sent[n], 'a message')
            # And no faster than the worker and this subscriber: a busy machine would thin targets, or lose frames.
            self.until(lambda: not len(self.node.runtime.inboxes), 'the worker')
            self.until(lambda: len(self.frames) >= self.node.pipeline.targets.counts().used, 'a frame')
        return sent

    def until(self, condition, what, timeout_s=15.0):
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f'waited {timeout_s} s for {what}'
            time.sleep(0.0005)
