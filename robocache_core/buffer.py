# SPDX-License-Identifier: Apache-2.0
"""A bounded, stamp-ordered buffer of one stream's samples.

A sample ends in exactly one of two ways: a frame used it, or it is counted as dropped, with the reason for which a
holder let it go. Holders are the buffer and the ready targets that picked it, whose reasons go before the buffer's: so
the reason does not depend on when a ready target is computed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from robocache_core.ledger import Account, Reason
from robocache_core.samples import Sample


class Entry:
    """A sample in a buffer, who still holds it, and whether its fate is counted."""

    __slots__ = ('_account', '_discarded', '_holders', '_reason', 'sample', 'settled')

    def __init__(self, sample: Sample, account: Account) -> None:
        self.sample = sample
        self.settled = False
        self._account = account
        self._holders = 1
        self._reason: str = Reason.UNSELECTED
        self._discarded: str = Reason.UNSELECTED

    def hold(self) -> None:
        """Add a holder."""
        self._holders += 1

    def use(self) -> None:
        """Count the sample as used, once however many frames use it."""
        if not self.settled:
            self.settled = True
            self._account.use()

    def drop(self, reason: str) -> None:
        """Count the sample as dropped, unless its fate is counted already."""
        if not self.settled:
            self.settled = True
            self._account.drop(reason)

    def blame(self, reason: str) -> None:
        """State the reason for which the sample is dropped if no frame uses it; the first one stands."""
        if self._reason == Reason.UNSELECTED:
            self._reason = reason

    def discard(self, reason: str) -> None:
        """Take the buffer away, a holder whose reason counts only where no target has one, whichever goes first."""
        self._discarded = reason
        self.release(Reason.UNSELECTED)

    def release(self, reason: str) -> None:
        """Take a holder away. With the last one the sample is dropped, for the first reason other than unselected."""
        self.blame(reason)
        self._holders -= 1
        if self._holders == 0:
            self.drop(self._discarded if self._reason == Reason.UNSELECTED else self._reason)


def nearest_index(stamps: list[int], stamp_ns: int) -> int | None:
    """Index of the stamp nearest in time; of two as near, the earlier; None where there is none."""
    at = bisect_left(stamps, stamp_ns)
    around = [i for i in (at - 1, at) if 0 <= i < len(stamps)]
    return min(around, key=lambda i: abs(stamps[i] - stamp_ns), default=None)


def previous_index(stamps: list[int], stamp_ns: int) -> int | None:
    """Index of the newest stamp at or before ``stamp_ns``; the oldest one's where there is none."""
    return max(0, bisect_right(stamps, stamp_ns) - 1) if stamps else None


def bracket(stamps_ns: Sequence[int] | npt.NDArray[np.int64], first_ns: int, last_ns: int) -> slice:
    """Of ascending stamps, those in ``[first_ns, last_ns]`` and the neighbour on either side."""
    return slice(max(0, bisect_right(stamps_ns, first_ns) - 1), bisect_left(stamps_ns, last_ns) + 1)


class StreamBuffer:
    """Samples in the order of their stamps, bounded in count, bytes and time span.

    Args:
        account: where drops are counted.
        depth: most samples kept.
        max_bytes: most bytes kept (one sample is always kept).
        span_ns: samples older than the newest by more are dropped.
    """

    def __init__(self, account: Account, *, depth: int, max_bytes: int, span_ns: int) -> None:
        self._account = account
        self._depth = depth
        self._max_bytes = max_bytes
        self._span_ns = span_ns
        self._stamps: list[int] = []
        self._entries: list[Entry] = []
        self._nbytes = 0
        #: Newest stamp since the buffer was last cleared, ns; outlives the sample that had it.
        self.newest_ns: int | None = None
        #: Stamps at or before this one are no longer needed, ns.
        self._floor_ns: int | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def push(self, sample: Sample) -> Entry | None:
        """Insert a sample; None if it was dropped: ``late``, ``duplicate``, ``buffer_full`` or ``buffer_age``."""
        stamp = sample.stamp_ns
        if self._floor_ns is not None and stamp <= self._floor_ns:
            self._account.drop(Reason.LATE)
            return None
        at = bisect_left(self._stamps, stamp)
        if at < len(self._stamps) and self._stamps[at] == stamp:
            self._account.drop(Reason.DUPLICATE)
            return None
        entry = Entry(sample, self._account)
        self._stamps.insert(at, stamp)
        self._entries.insert(at, entry)
        self._nbytes += sample.nbytes
        self.newest_ns = stamp if self.newest_ns is None else max(self.newest_ns, stamp)
        self._enforce_bounds()
        return None if entry.settled else entry

    def _enforce_bounds(self) -> None:
        newest = self._stamps[-1]
        while newest - self._stamps[0] > self._span_ns:
            self._pop_oldest(Reason.BUFFER_AGE)
        while len(self._entries) > self._depth or (self._nbytes > self._max_bytes and len(self._entries) > 1):
            self._pop_oldest(Reason.BUFFER_FULL)

    def _pop_oldest(self, reason: str) -> None:
        self._stamps.pop(0)
        entry = self._entries.pop(0)
        self._nbytes -= entry.sample.nbytes
        entry.discard(reason)

    def stamps(self) -> list[int]:
        """Return all stamps, ascending, ns; not to be changed."""
        return self._stamps

    def at(self, stamp_ns: int) -> Entry | None:
        """Return the sample with exactly this stamp."""
        at = bisect_left(self._stamps, stamp_ns)
        return self._entries[at] if at < len(self._stamps) and self._stamps[at] == stamp_ns else None

    def nearest(self, stamp_ns: int) -> Entry | None:
        """Return the sample nearest in time; of two as near, the earlier."""
        at = nearest_index(self._stamps, stamp_ns)
        return None if at is None else self._entries[at]

    def previous(self, stamp_ns: int) -> Entry | None:
        """Return the newest sample at or before ``stamp_ns``; the oldest one where there is none."""
        at = previous_index(self._stamps, stamp_ns)
        return None if at is None else self._entries[at]

    def window(self, first_ns: int, last_ns: int, earlier: int = 0) -> tuple[Entry, ...]:
        """Return the samples in ``[first_ns, last_ns]``, with the neighbour on either side, and ``earlier`` ones."""
        span = bracket(self._stamps, first_ns, last_ns)
        return tuple(self._entries[max(0, span.start - earlier) : span.stop])

    def discard_before(self, before_ns: int, earlier: int = 0) -> None:
        """Drop as ``unselected`` what no instant from ``before_ns`` on needs.

        That is all but the newest sample before it, and ``earlier`` ones.
        """
        while len(self._stamps) > 1 + earlier and self._stamps[1 + earlier] <= before_ns:
            self._floor_ns = self._stamps[0]
            self._pop_oldest(Reason.UNSELECTED)

    def close_at(self, stamp_ns: int) -> None:
        """Refuse later samples at or before ``stamp_ns`` as ``late``."""
        self._floor_ns = stamp_ns if self._floor_ns is None else max(self._floor_ns, stamp_ns)

    def clear(self, reason: str) -> None:
        """Drop everything for ``reason`` and forget all stamps."""
        while self._entries:
            self._pop_oldest(reason)
        self.newest_ns = self._floor_ns = None
