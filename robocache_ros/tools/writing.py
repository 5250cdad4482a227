# SPDX-License-Identifier: Apache-2.0
"""What a tool writes. A full disk is an error of its own, which names the file and which ``run_tool`` reports."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import TextIOWrapper
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


def keep_apart(outputs: Sequence[Path], bags: Sequence[Path], config: Path | None) -> None:
    """Refuse to write over what is read, and two files by one name.

    Args:
        outputs: files that will be written.
        bags: files, or folders of files, that are read.
        config: a file that is read, if there is one.

    Raises:
        FileExistsError: an output is one of the others.
    """
    taken = {file.resolve() for bag in bags for file in (bag.iterdir() if bag.is_dir() else [bag])}
    taken |= {config.resolve()} if config else set()
    for output in outputs:
        if output.resolve() in taken and (output.is_file() or not output.exists()):  # a terminal, say, is none
            raise FileExistsError(f'{output} is read, or written already: choose another file to write')
        taken.add(output.resolve())


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


@contextmanager
def guarded_errors(stream: TextIO | None) -> Iterator[None]:
    """Have errors and progress go to ``stream``, standard error; nowhere where that is closed (None), or fails."""
    with (
        open(os.devnull, 'w') as nowhere,
        redirect_stderr(cast('TextIO', _Output(stream or nowhere, may_fail=True))),
    ):
        yield


class _Output:
    """A standard stream. What a reader leaves that ends, as ``head`` does, is dropped, and all where it ``may_fail``.

    Raises:
        UnwrittenError: by each method, it could not be written.
    """

    def __init__(self, stream: TextIO, *, may_fail: bool = False) -> None:
        self._stream, self._may_fail = stream, may_fail
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')  # what its encoding has not

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
            if not (self._may_fail or isinstance(error, BrokenPipeError)):
                raise UnwrittenError(f'standard output: {error.strerror}') from error
