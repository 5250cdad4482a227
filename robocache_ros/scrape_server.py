# SPDX-License-Identifier: Apache-2.0
"""Serves one page over HTTP, and survives clients that do not behave.

``prometheus_client.start_http_server`` starts a thread for each connection, without a bound and without a timeout: a
client that connects and sends nothing keeps one for ever. Here one thread serves all. A client has ``TIMEOUT_S`` from
its connection to its answer; where ``MOST_CLIENTS`` are connected, the oldest gives way to the next, so that those that
send nothing do not keep out one that asks. The page is made at most once in ``FRESH_S``, however often it is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable

TIMEOUT_S, MOST_CLIENTS, FRESH_S = 5.0, 128, 0.1
#: Bytes of a request's head.
_MOST_BYTES = 8192
PATH = '/metrics'


class ScrapeServer:
    """Listens from its construction to ``close``.

    Args:
        address: IP address or host name to listen on.
        port: 0: any that is free.
        make_page: returns the page; called on the server's thread.
        content_type: the page's.
        on_failure: called in the ``except`` block where ``make_page`` raised.

    Raises:
        OSError: it cannot listen there.
        UnicodeError: ``address`` cannot be the name of a host.
    """

    def __init__(
        self,
        address: str,
        port: int,
        make_page: Callable[[], bytes],
        content_type: str,
        on_failure: Callable[[], None],
    ) -> None:
        self._make_page = make_page
        self._content_type = content_type
        self._on_failure = on_failure
        self._page, self._made_s = b'', -FRESH_S
        #: In the order in which they came.
        self._clients: dict[asyncio.StreamWriter, None] = {}
        family, _, _, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self._socket = socket.create_server(where[:2], family=family)
        #: Where it listens.
        self.port = int(self._socket.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name='robocache-metrics', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Cut off all clients, and free the port."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._take, sock=self._socket, limit=_MOST_BYTES)
        await self._closing.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the sockets are closed in the loop's next turn

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a client once, and part with it."""
        if len(self._clients) >= MOST_CLIENTS:
            oldest = next(iter(self._clients))
            del self._clients[oldest]
            oldest.transport.abort()
        self._clients[writer] = None
        try:
            # What a client does wrong costs that client alone.
            with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError, asyncio.TimeoutError):
                await asyncio.wait_for(self._talk(reader, writer), TIMEOUT_S)
        finally:
            self._clients.pop(writer, None)
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b'\r\n\r\n')
        status, content_type, page = self._answer(head.partition(b'\r\n')[0].split())
        lines = (
            f'HTTP/1.1 {status}',
            f'Content-Type: {content_type}',
            f'Content-Length: {len(page)}',
            'Connection: close',
        )
        writer.write('\r\n'.join((*lines, '', '')).encode() + page)
        writer.close()
        await writer.wait_closed()  # the client has taken all

    def _answer(self, request: list[bytes]) -> tuple[str, str, bytes]:
        """Return status, content type and page for the words of a request's first line."""
        plain = 'text/plain; charset=utf-8'
        if len(request) != 3 or not request[2].startswith(b'HTTP/1.'):
            return '400 Bad Request', plain, b'this is no HTTP/1 request\n'
        if request[0] != b'GET':
            return '405 Method Not Allowed', plain, b'GET is all there is\n'
        if request[1].partition(b'?')[0] != PATH.encode():
            return '404 Not Found', plain, f'the page is {PATH}\n'.encode()
        try:
            return '200 OK', self._content_type, self._fresh_page()
        except Exception:
            self._on_failure()
            return (
                '500 Internal Server Error',
                plain,
                b'the page could not be made: the log of the node has the reason\n',
            )

    def _fresh_page(self) -> bytes:
        now_s = self._loop.time()
        if now_s - self._made_s >= FRESH_S:
            self._page, self._made_s = self._make_page(), now_s
        return self._page
