# SPDX-License-Identifier: Apache-2.0
"""The planes of a JPEG: luma and chroma as a camera's JPEG holds them, from which ``prepare_image`` makes its colours.

They are read in the pass that finds damage, take half of the bytes of the pixels, and of them colours are made where a
result reads them. That gives the bits of libjpeg, whole or reduced, of images that are as cameras make them; all others
have no planes here, and libjpeg decodes them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from robocache_core import backends, host_memory
from robocache_core.encodings import JPEG_SAMPLINGS
from robocache_core.jpeg import Jpeg, ScanPlan, Segment, scan_plans

#: Most pixels along an axis that libjpeg takes.
_MAX_PIXELS = 65500
_APP0, _APP14, _DHT, _DQT, _DRI, _COMMENT = 0xE0, 0xEE, 0xC4, 0xDB, 0xDD, 0xFE
_FRAMES = 0xC0, 0xC1
#: Largest quantum with which all coefficients that are no damage have 16 bits.
_MOST_QUANTUM = 255
#: All coefficients of a block, whole.
_SEQUENTIAL = bytes((0, 63, 0))
#: Bytes of an application's segment that are looked at, and of all headers: tables alone have less than 3 KiB.
_MOST_OF_NAME, _MOST_OF_HEADERS = 14, 4096


@dataclass(frozen=True, eq=False)
class Planes:
    """Luma, and chroma twice, one plane behind the other, in rows of whole blocks of 8 x 8.

    Attributes:
        width, height: of the image, px.
        data: ``[nbytes]`` uint8.
        step: bytes from a row of luma to the next.
        sampling: a name of ``JPEG_SAMPLINGS``; empty: there is luma alone, which is grey.
    """

    width: int
    height: int
    data: npt.NDArray[np.uint8]
    step: int
    sampling: str


@dataclass(frozen=True, eq=False)
class PlanesPlan:
    """How the blocks of the one scan of an image become planes.

    Attributes:
        scan: what its codes mean.
        mcus: across and down.
        blocks: of luma in an MCU, across and down; of chroma there is one of each.
        num_planes: 1 or 3.
        sizes: pixels that a block of luma, and one of chroma, becomes along an axis.
    """

    scan: ScanPlan
    mcus: tuple[int, int]
    blocks: tuple[int, int]
    num_planes: int
    sizes: tuple[int, int]

    @property
    def sampling(self) -> tuple[int, int]:
        """Pixels of luma for one of chroma, across and down."""
        across, down = (size * self.sizes[0] // self.sizes[1] for size in self.blocks)
        return across, down

    def plane(self, number: int) -> tuple[int, int]:
        """Rows of a plane, and bytes of a row; a reduced one has more than its MCUs fill, for whole blocks of 8 x 8."""
        across, down = (8 * -(-count * self.sizes[1] // 8) for count in self.mcus)
        return (down, across) if number else (self.sampling[1] * down, self.sampling[0] * across)

    @property
    def nbytes(self) -> int:
        """Of all planes."""
        return sum(rows * step for rows, step in map(self.plane, range(self.num_planes)))


def read_planes(jpeg: Jpeg, data: npt.NDArray[np.uint8], factor: int = 1) -> Planes | None:
    """Return the planes of a JPEG, reduced by ``factor`` (1, 2, 4 or 8) along each axis, sizes rounded up.

    None where it is damaged, or is not as cameras make them.
    """
    headers = _headers(jpeg)
    plan = None if headers is None else _kept_plan(headers, factor)
    if plan is None:
        return None
    begin, end = jpeg.segments[-1].data
    plan = replace(plan, scan=replace(plan.scan, begin=begin, end=end))
    out = host_memory.empty(plan.nbytes)
    if not backends.active().module.jpeg_planes(plan, data, out):
        return None
    sampling = {size: name for name, size in JPEG_SAMPLINGS.items()}[plan.sampling] if plan.num_planes > 1 else ''
    return Planes(-(-jpeg.width // factor), -(-jpeg.height // factor), out, plan.plane(0)[1], sampling)


def _headers(jpeg: Jpeg) -> Jpeg | None:
    """Return what the images of a camera have in common, of which a plan is made; None where that is too much to keep.

    Without where the codes are, and without what applications write: of that, the begin says what wrote it.
    """
    segments = tuple(
        Segment(each.marker, each.content[:_MOST_OF_NAME] if _is_of_application(each.marker) else each.content)
        for each in jpeg.segments
    )
    is_small = sum(len(each.content) for each in segments) <= _MOST_OF_HEADERS
    return replace(jpeg, segments=segments) if is_small else None


def _is_of_application(marker: int) -> bool:
    return _APP0 <= marker <= _APP0 + 15 or marker == _COMMENT


@functools.lru_cache(maxsize=16)
def _kept_plan(headers: Jpeg, factor: int) -> PlanesPlan | None:
    """Return the plan of images with these headers; its scan begins and ends at 0. None: they have no planes."""
    if not _is_usual(headers):
        return None
    try:
        return _plan(headers, factor)
    except (IndexError, ValueError, KeyError):
        return None


def _is_usual(jpeg: Jpeg) -> bool:
    """Whether the image is one scan of luma, or of it and its chroma, with nothing that libjpeg refuses."""
    *headers, scan = jpeg.segments
    numbers = _numbers(headers)
    return (
        jpeg.is_whole
        and jpeg.is_sequential
        and max(jpeg.width, jpeg.height) <= _MAX_PIXELS
        and jpeg.num_channels in (1, 3)
        and all(_is_sound(segment) for segment in headers)
        and not any(segment.marker == 0xDA for segment in headers)
        and (jpeg.num_channels == 1 or _is_luma_and_chroma(headers, numbers))
        and scan.content[:1] == bytes((jpeg.num_channels,))
        and scan.content[1 : 1 + 2 * jpeg.num_channels : 2] == numbers
        and scan.content[1 + 2 * jpeg.num_channels :] == _SEQUENTIAL
    )


def _is_sound(segment: Segment) -> bool:
    """Whether a segment before the scan is known, and libjpeg takes it."""
    marker, content = segment.marker, segment.content
    if marker in _FRAMES:
        return len(content) == 6 + 3 * content[5]
    if marker == _DRI:
        return len(content) == 2
    return marker in (_DHT, _DQT) or _is_of_application(marker)


def _numbers(headers: list[Segment]) -> bytes:
    """Of the components, in the order of the frame."""
    return next((s.content[6::3] for s in headers if s.marker in _FRAMES), b'')


def _is_luma_and_chroma(headers: list[Segment], numbers: bytes) -> bool:
    """Whether three components are so, and not R G B, as libjpeg takes it."""
    if any(s.marker == _APP0 and len(s.content) >= 14 and s.content.startswith(b'JFIF\0') for s in headers):
        return True
    return numbers != b'RGB' and not any(s.marker == _APP14 for s in headers)


def _plan(jpeg: Jpeg, factor: int) -> PlanesPlan | None:
    (scan,) = scan_plans(jpeg)
    frame = next(s.content for s in jpeg.segments if s.marker in _FRAMES)
    blocks, *others = [(size >> 4, size & 15) for size in frame[7::3]]
    if not others:  # grey: its blocks come one by one, whatever it says
        blocks = 1, 1
    elif blocks not in JPEG_SAMPLINGS.values() or others != [(1, 1), (1, 1)]:
        return None
    mcus = -(-jpeg.width // (8 * blocks[0])), -(-jpeg.height // (8 * blocks[1]))
    plan = PlanesPlan(scan, mcus, blocks, 1 + len(others), _sizes(blocks, factor))
    is_taken = scan.quanta.max() <= _MOST_QUANTUM and _are_taken(jpeg, scan) and _is_blended(jpeg, plan, factor)
    return plan if is_taken else None


def _sizes(blocks: tuple[int, int], factor: int) -> tuple[int, int]:
    """``PlanesPlan.sizes``: where chroma has half of the pixels on both axes, it is reduced less instead."""
    size = 8 // factor
    return size, 2 * size if blocks == (2, 2) and factor > 1 else size


def _is_blended(jpeg: Jpeg, plan: PlanesPlan, factor: int) -> bool:
    """Whether libjpeg makes chroma as large as luma as ``prepare_image`` does.

    It does not blend so few columns as four pixels have, nor blocks of one pixel.
    """
    is_narrow = plan.sampling[0] == 2 and jpeg.width <= 4 * factor
    return not (is_narrow or (factor == 8 and 2 in plan.sampling))


def _are_taken(jpeg: Jpeg, scan: ScanPlan) -> bool:
    """Whether libjpeg takes the tables: numbers up to 3, no code of ones alone, no difference of more than 15 bits."""
    for segment in jpeg.segments:
        content = segment.content
        while segment.marker in (_DHT, _DQT) and content:
            kind, number = content[0] >> 4, content[0] & 15
            size = 16 + sum(content[1:17]) if segment.marker == _DHT else 64 << kind
            is_of_differences = segment.marker == _DHT and kind == 0
            if number > 3 or kind > 1 or (is_of_differences and max(content[17 : 1 + size], default=0) > 15):
                return False
            content = content[1 + size :]
    return not scan.codes[:, -1].any()
