# SPDX-License-Identifier: Apache-2.0
"""What a tool writes. A full disk is an error of its own, which names the file and which ``run_tool`` reports."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO, cast

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class UnwrittenError(Exception):
    """A file, or standard output, could not be written to its end; the message names it and says why, in one line.

    It is no ``OSError``, which is how a tool learns that an argument cannot be used.
    """


@contextmanager
def named(what: object) -> Iterator[None]:
    """Have a full disk be reported by the name of ``what`` is written within.

    Raises:
        UnwrittenError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        from robocache_core.text import printable  # only now: torch takes seconds to import

        raise UnwrittenError(printable(f'{what}: {error.strerror}')) from error


def write(file: Path, content: str | bytes) -> None:
    """Write a whole file; text as UTF-8.

    Raises:
        UnwrittenError: the disk is full.
        OSError: the file cannot be opened.
    """
    with named(file):
        file.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def guarded_output(stream: TextIO) -> Iterator[None]:
    """Have what is printed go to ``stream``, standard output, by ``_Output``, and all of it be there at the end.

    Raises:
        UnwrittenError: it could not be written.
    """
    output = _Output(stream)
    with redirect_stdout(cast('TextIO', output)):
        try:
            yield
        except BaseException:
            with suppress(UnwrittenError):  # what ends the tool is more than that
                output.flush()
            raise
        output.flush()


class _Output:
    """Standard output: ``UnwrittenError`` where it cannot be written; what ``head`` leaves is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._reaching():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._reaching():
            self._stream.flush()

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is left in its buffer would fail again at the end of Python.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            if not isinstance(error, BrokenPipeError):
                raise UnwrittenError(f'standard output: {error.strerror}') from error
