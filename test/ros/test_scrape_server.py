# SPDX-License-Identifier: Apache-2.0
"""The server of the metrics: its answers, and clients that do not behave."""

import contextlib
import os
import socket
import sys
import threading

import pytest

from robocache_ros import scrape_server
from robocache_ros.scrape_server import MOST_CLIENTS, ScrapeServer

GET = b'GET /metrics HTTP/1.1\r\nHost: robot\r\n\r\n'


@contextlib.contextmanager
def serving(make_page=lambda: b'a page\n', on_failure=lambda: None, port=0):
    server = ScrapeServer('127.0.0.1', port, make_page, 'text/plain; version=1.0.0', on_failure)
    try:
        yield server
    finally:
        server.close()


def connect(server):
    return socket.create_connection(('127.0.0.1', server.port), timeout=10)


def read_all(client):
    """What comes until the server parts with the client."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := client.recv(65536):
            parts.append(part)
    return b''.join(parts)


def ask(server, request=GET):
    with connect(server) as client:
        client.sendall(request)
        head, _, page = read_all(client).partition(b'\r\n\r\n')
    return head.decode().split('\r\n'), page


def test_the_page():
    with serving() as server:
        head, page = ask(server)
    assert head == [
        'HTTP/1.1 200 OK',
        'Content-Type: text/plain; version=1.0.0',
        'Content-Length: 7',
        'Connection: close',
    ]
    assert page == b'a page\n'


@pytest.mark.parametrize(
    ('line', 'status'),
    [
        (b'GET /metrics HTTP/1.0', '200 OK'),
        (b'GET /metrics?x=1 HTTP/1.1', '200 OK'),
        (b'GET / HTTP/1.1', '404 Not Found'),
        (b'POST /metrics HTTP/1.1', '405 Method Not Allowed'),
        (b'GET /metrics', '400 Bad Request'),
        (b'GET /metrics HTTP/2', '400 Bad Request'),
        (b'\xff\x00 \xfe \xfd', '400 Bad Request'),
        (b'', '400 Bad Request'),
    ],
)
def test_an_answer_for_every_request(line, status):
    with serving() as server:
        head, _ = ask(server, line + b'\r\n\r\n')
    assert head[0] == f'HTTP/1.1 {status}'


@pytest.mark.parametrize('request_bytes', [b'', b'G', b'GET /metrics HTTP/1.1\r\nHost: robot\r\n'])
def test_a_client_that_does_not_finish_its_request_is_parted_with_and_keeps_nobody_waiting(monkeypatch, request_bytes):
    monkeypatch.setattr(scrape_server, 'TIMEOUT_S', 0.2)
    with serving() as server, connect(server) as client:
        client.sendall(request_bytes)
        assert ask(server)[1] == b'a page\n'
        assert read_all(client) == b''


def test_a_client_whose_request_does_not_end_is_parted_with_by_its_bytes():
    with serving() as server, connect(server) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(b'x' * 50_000_000)
        assert read_all(client) == b''
        assert ask(server)[1] == b'a page\n'


def test_a_client_that_does_not_read_is_parted_with_and_keeps_nobody_waiting(monkeypatch):
    monkeypatch.setattr(scrape_server, 'TIMEOUT_S', 0.5)
    large = bytes(50_000_000)
    with serving(lambda: large) as server, connect(server) as client:
        client.sendall(GET)
        assert ask(server, b'GET / HTTP/1.1\r\n\r\n')[0][0] == 'HTTP/1.1 404 Not Found'
        while server._clients:
            assert ask(server, b'GET / HTTP/1.1\r\n\r\n')[0][0] == 'HTTP/1.1 404 Not Found'
        assert len(read_all(client)) < len(large)


def test_a_thousand_silent_clients_keep_nobody_out_and_cost_no_thread():
    with serving() as server, contextlib.ExitStack() as stack:
        threads = threading.active_count()
        for number in range(1000):
            stack.enter_context(connect(server))
            if number % 50 == 0:
                assert ask(server)[1] == b'a page\n'
        assert len(server._clients) <= MOST_CLIENTS
        assert threading.active_count() == threads
    assert not server._clients


def test_a_thousand_clients_that_ask_all_get_the_page_which_is_made_once(monkeypatch):
    monkeypatch.setattr(scrape_server, 'FRESH_S', 3600.0)
    made = []
    with serving(lambda: made.append(1) or b'a page\n') as server:
        for _ in range(1000):
            assert ask(server)[1] == b'a page\n'
    assert len(made) == 1


def test_a_page_that_is_old_is_made_again(monkeypatch):
    monkeypatch.setattr(scrape_server, 'FRESH_S', 0.0)
    made = []
    with serving(lambda: made.append(1) or b'%d' % len(made)) as server:
        assert [ask(server)[1] for _ in range(3)] == [b'1', b'2', b'3']


def test_a_page_that_cannot_be_made_is_reported_and_the_next_one_comes():
    seen, pages = [], iter([RuntimeError('injected'), b'a page\n'])

    def make_page():
        page = next(pages)
        if isinstance(page, Exception):
            raise page
        return page

    with serving(make_page, lambda: seen.append(str(sys.exc_info()[1]))) as server:
        assert ask(server)[0][0] == 'HTTP/1.1 500 Internal Server Error'
        assert ask(server)[1] == b'a page\n'
    assert seen == ['injected']


def test_the_port_is_refused_while_it_is_taken_and_free_at_once_after():
    with serving() as server, pytest.raises(OSError, match='in use'), serving(port=server.port):
        pass
    for _ in range(20):
        with contextlib.ExitStack() as stack:
            with serving(port=server.port) as again:
                client = stack.enter_context(connect(again))
                assert ask(again)[1] == b'a page\n'
            assert read_all(client) == b''
            with pytest.raises(ConnectionRefusedError):
                connect(again)


def test_nothing_is_left_behind():
    before = threading.active_count(), len(os.listdir('/proc/self/fd'))
    for _ in range(20):
        with serving() as server:
            clients = [connect(server) for _ in range(5)]
            ask(server)
        for client in clients:
            client.close()
    assert (threading.active_count(), len(os.listdir('/proc/self/fd'))) == before
