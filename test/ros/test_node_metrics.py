# SPDX-License-Identifier: Apache-2.0
"""The node over a real ROS network: its metrics over HTTP, and the port while the node goes through its states."""

import contextlib
import itertools
import socket
import sys
import threading

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.parameter import Parameter
from support.robot import LIDAR, SUCCESS, Robot, cloud, image, imu
from support.scrape import assert_agrees, buckets, free_port, of_diagnostics, of_ledger, samples, scrape

from robocache_ros import prometheus, scrape_server

STREAMS = {'cameras': ['front'], 'front__width': 4, 'front__height': 4, 'front__required': False, 'imus': ['imu']}


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch):
    monkeypatch.setattr(scrape_server, 'FRESH_S', 0.0)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == 'robocache-metrics']


def listens(port):
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(('127.0.0.1', port), timeout=10):
        return True
    return False


def drive(robot, first, last):
    for ms in range(first, last, 20):
        robot.deliver('imu', imu(ms))
        if ms % 100 == 0:
            robot.deliver('front', image(ms, encoding='cmyk' if ms % 300 == 0 else 'bgr8'))
            robot.deliver('lidar', cloud(ms, [(1.0, 2.0, 0.5), (900.0, 0.0, 0.0), (float('nan'), 0.0, 0.0)]))


def test_a_scrape_is_equal_to_diagnostics_and_to_the_ledger_at_rest():
    port = free_port()
    with Robot(**LIDAR, **STREAMS, metrics__port=port) as robot:
        robot.bring_up()
        drive(robot, 0, 1500)
        robot.deliver('lidar', cloud(900))  # of the past
        for name in ('lidar', 'front', 'imu'):
            robot.settled(name, 1)
        expected = of_ledger(robot.node.pipeline)
        assert_agrees(scrape(port), expected)

        def is_reported():
            reported = of_diagnostics(dict(robot.statuses))
            return {key: value for key, value in reported.items() if key in expected} == expected

        robot.until(is_reported, 'a report of what the ledger has')
        text = scrape(port)
        assert_agrees(text, of_diagnostics(dict(robot.statuses)))
        found = samples(text)
        reasons = {key[1:] for key in found if key[0] == 'robocache_messages_dropped_total'}
        assert reasons >= {('lidar', 'late'), ('front', 'unknown_encoding')}
        assert found['robocache_frames_total',] == len(robot.frames) > 5
        assert found['robocache_points_dropped_total', 'lidar', 'range'] > 0
        for name in ('lidar', 'front', 'imu'):
            received = robot.counts(name).received
            assert found['robocache_transport_seconds_count', name] == received
            assert found['robocache_inbox_wait_seconds_count', name] == received
            assert buckets(text, 'robocache_transport_seconds')[(name,)]['+Inf'] == received
            assert found['robocache_transport_seconds_sum', name] > 0
        assert found['robocache_active',] == 1


def test_every_scrape_while_messages_come_adds_up_and_no_counter_goes_back():
    port, pages, over = free_port(), [], threading.Event()

    def scrape_on():
        while not over.is_set():
            pages.append(scrape(port))

    with Robot(**LIDAR, **STREAMS, metrics__port=port) as robot:
        robot.bring_up()
        scraper = threading.Thread(target=scrape_on)
        scraper.start()
        drive(robot, 0, 1000)
        over.set()
        scraper.join()
    found = [samples(page) for page in pages]
    assert len(found) > 5
    for before, after in itertools.pairwise(found):
        counters = [key for key in before if key[0].endswith(('_total', '_count', '_sum'))]
        assert all(after[key] >= before[key] for key in counters)
    for each in found:
        for name in ('lidar', 'front', 'imu'):
            dropped = sum(n for key, n in each.items() if key[:2] == ('robocache_messages_dropped_total', name))
            used, held = each['robocache_messages_used_total', name], each['robocache_messages_held', name]
            assert each['robocache_messages_received_total', name] == used + held + dropped
            assert held >= each['robocache_inbox_messages', name]


def test_the_port_is_open_from_configure_to_cleanup_every_time():
    port = free_port()
    with Robot(**LIDAR, metrics__port=port) as robot:
        for _ in range(3):
            assert not listens(port)
            assert robot.node.trigger_configure() == SUCCESS
            assert samples(scrape(port))['robocache_active',] == 0
            assert robot.node.trigger_activate() == SUCCESS
            assert samples(scrape(port))['robocache_active',] == 1
            robot.deliver('lidar', cloud(0))
            assert robot.node.trigger_deactivate() == SUCCESS
            assert samples(scrape(port))['robocache_messages_received_total', 'lidar'] == 1
            assert len(threads()) == 1
            with socket.create_connection(('127.0.0.1', port)):  # one that is still connected holds nothing up
                assert robot.node.trigger_cleanup() == SUCCESS
            assert not threads()
        robot.bring_up()
        assert robot.node.trigger_shutdown() == SUCCESS
        assert not listens(port)


def test_a_node_that_is_destroyed_while_it_is_active_leaves_no_thread_and_no_port():
    port, before = free_port(), set(threading.enumerate())
    with Robot(**LIDAR, metrics__port=port) as robot:
        robot.bring_up()
        robot.deliver('lidar', cloud(0))
        robot.executor.remove_node(robot.node)
        robot.node.destroy_node()
        assert not listens(port)
        assert set(threading.enumerate()) - before == {robot.thread}


def test_no_port_is_the_default():
    with Robot(**LIDAR) as robot:
        robot.bring_up()
        assert not threads()


def test_a_port_in_use_is_refused_with_its_name_and_taken_once_it_is_free(capfd):
    with socket.create_server(('127.0.0.1', 0)) as taken, Robot(**LIDAR) as robot:
        port = taken.getsockname()[1]
        robot.node.set_parameters([Parameter('metrics.port', value=port)])
        assert robot.node.trigger_configure() != SUCCESS
        assert robot.node.pipeline is None
        robot.until(lambda: robot.level('configuration') == DiagnosticStatus.ERROR, 'the refusal in diagnostics')
        taken.close()
        assert robot.node.trigger_configure() == SUCCESS
        assert samples(scrape(port))['robocache_active',] == 0
    said = f'metrics.port = {port}: cannot listen on 127.0.0.1:{port}: Address already in use; set another, or 0'
    assert said in capfd.readouterr().err


@pytest.mark.parametrize('address', ['no.such.host.invalid', '203.0.113.7', 'two..dots', 'x' * 64])
def test_an_address_that_is_not_this_machine_s_is_refused_with_it(capfd, address):
    with Robot(**LIDAR, metrics__port=free_port(), metrics__address=address) as robot:
        assert robot.node.trigger_configure() != SUCCESS
        assert not threads()
    said = capfd.readouterr().err
    assert f': cannot listen on {address}:' in said
    assert 'Traceback' not in said


def test_without_prometheus_client_only_a_port_is_refused(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, 'prometheus_client', None)
    monkeypatch.delitem(sys.modules, 'robocache_ros.prometheus')
    with Robot(**LIDAR) as robot:
        assert robot.node.trigger_configure() == SUCCESS
        assert robot.node.trigger_cleanup() == SUCCESS
        robot.node.set_parameters([Parameter('metrics.port', value=free_port())])
        assert robot.node.trigger_configure() != SUCCESS
    assert 'prometheus_client cannot be imported' in capfd.readouterr().err


def test_silent_clients_cost_no_frame_and_keep_nobody_out():
    port = free_port()
    with contextlib.ExitStack() as stack, Robot(**LIDAR, metrics__port=port) as robot:
        robot.bring_up()
        for number in range(20):
            for _ in range(10):
                stack.enter_context(socket.create_connection(('127.0.0.1', port), timeout=10))
            robot.deliver('lidar', cloud(100 * number))
            assert samples(scrape(port))['robocache_messages_received_total', 'lidar'] > 0
        robot.until(lambda: len(robot.frames) == 20, 'a frame for every cloud')


def test_a_scrape_that_does_not_come_to_an_end_costs_no_frame(monkeypatch):
    begun, ended = threading.Event(), threading.Event()
    whole = prometheus.generate_latest

    def stuck(registry):
        page = whole(registry)
        begun.set()
        assert ended.wait(30.0)
        return page

    monkeypatch.setattr(prometheus, 'generate_latest', stuck)
    port = free_port()
    with Robot(**LIDAR, metrics__port=port) as robot:
        robot.bring_up()
        scraper = threading.Thread(target=scrape, args=(port,))
        scraper.start()
        assert begun.wait(10.0)
        for ms in range(0, 1000, 100):
            robot.deliver('lidar', cloud(ms))
        robot.until(lambda: len(robot.frames) == 10, 'a frame for every cloud')
        robot.until(lambda: robot.values('output')['frames'] == '10', 'reports')
        ended.set()
        scraper.join()
