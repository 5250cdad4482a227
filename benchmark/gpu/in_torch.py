# SPDX-License-Identifier: Apache-2.0
"""What a good user of torch writes: the peers. None waits for the GPU where its docstring does not say so.

Points that fall into no voxel go to one row more than there are voxels, since to leave them out would mean to wait.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F

from robocache_core.ops import VoxelGrid

# ---- clouds


@functools.lru_cache(maxsize=32)
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Made once a device, as a module's buffers are."""
    return torch.tensor(values, dtype=dtype, device=device)


def cells(xyz: torch.Tensor, grid: VoxelGrid, keep: torch.Tensor | None = None) -> torch.Tensor:
    """``[N]`` int64: the voxel of each point ``[N, 3]``; ``num_voxels`` where it is outside or not to be kept."""
    lower = _constant(grid.lower, torch.float32, xyz.device)
    shape = _constant(tuple(map(float, grid.shape)), torch.float32, xyz.device)
    cell = ((xyz - lower) * (1 / grid.size[0])).floor()
    inside = ((cell >= 0) & (cell < shape)).all(dim=1)
    if keep is not None:
        inside = inside & keep
    x, y, z = cell.long().unbind(1)
    return torch.where(inside, (z * grid.shape[1] + y) * grid.shape[0] + x, grid.num_voxels)


def dense(index: torch.Tensor, values: torch.Tensor, grid: VoxelGrid, kind: str, *, by_rows: bool) -> torch.Tensor:
    """``[C, Z, Y, X]``: count, occupancy, mean or max of values ``[N, C]``; summed as rows of voxels or of channels."""
    rows, channels = grid.num_voxels + 1, values.shape[1]
    shape = (-1, *reversed(grid.shape))
    if kind == 'occupancy':
        return values.new_zeros(rows).scatter_(0, index, 1.0)[:-1].view(shape)
    if kind == 'max':
        if by_rows:
            most = values.new_zeros(rows, channels)
            most.scatter_reduce_(0, index[:, None].expand(-1, channels), values, 'amax', include_self=False)
            return most[:-1].T.contiguous().view(shape)
        most = values.new_zeros(channels, rows)
        most.scatter_reduce_(1, index.expand(channels, -1), values.T, 'amax', include_self=False)
        return most[:, :-1].contiguous().view(shape)
    counts = _counts(index, rows)
    if kind == 'count':
        return counts[:-1].view(shape)
    counts.clamp_(min=1)
    if by_rows:
        sums = values.new_zeros(rows, channels).index_add_(0, index, values)
        return sums.div_(counts[:, None])[:-1].T.contiguous().view(shape)
    sums = values.new_zeros(channels, rows).index_add_(1, index, values.T)
    return (sums[:, :-1] / counts[:-1]).view(shape)


def sparse_by_unique(
    index: torch.Tensor, values: torch.Tensor, grid: VoxelGrid
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Coordinates ``[V, 3]``, means ``[V, C]``, counts ``[V]``. It waits: the number of voxels is a shape."""
    inside = index < grid.num_voxels
    index, values = index[inside], values[inside]
    voxels, inverse, counts = torch.unique(index, return_inverse=True, return_counts=True)
    sums = values.new_zeros(len(voxels), values.shape[1]).index_add_(0, inverse, values)
    return _coords(voxels, grid), sums / counts[:, None], counts.int()


def sparse_by_sort(
    index: torch.Tensor, values: torch.Tensor, grid: VoxelGrid
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same in the first rows of N, and how many there are."""
    keys, order, row, num = _sorted_rows(index.int(), grid)
    sums = values.new_zeros(len(keys), values.shape[1]).index_add_(0, row, values[order])
    counts = _counts(row, len(keys))
    voxels = torch.zeros_like(keys).scatter_(0, row, keys)
    return _coords(voxels, grid), sums / counts.clamp(min=1)[:, None], counts.int(), num


def hard(
    points: torch.Tensor, grid: VoxelGrid, max_points: int, max_voxels: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Voxels ``[max_voxels, max_points, F]``, the nearest to the centre first; coordinates, counts, number."""
    xyz = points[:, :3]
    index = cells(xyz, grid)
    scaled = (xyz - _constant(grid.lower, torch.float32, xyz.device)) * (1 / grid.size[0])
    distance2 = (scaled - scaled.floor() - 0.5).square().sum(dim=1)
    # One sort does both: floats that are not negative are in the order of their bits.
    keys, order, row, num = _sorted_rows(index << 32 | distance2.view(torch.int32), grid, bits=32)
    counts = _counts(row, len(keys)).long()
    rank = torch.arange(len(keys), device=keys.device) - (counts.cumsum(0) - counts)[row]
    kept = (rank < max_points) & (row < max_voxels) & (keys >> 32 < grid.num_voxels)
    voxels = points.new_zeros(max_voxels * max_points + 1, points.shape[1])
    voxels[torch.where(kept, row * max_points + rank, max_voxels * max_points)] = points[order]
    first = torch.zeros_like(keys).scatter_(0, row, keys >> 32)[:max_voxels]
    return (
        voxels[:-1].view(max_voxels, max_points, -1),
        _coords(first, grid),
        counts[:max_voxels].clamp(max=max_points).int(),
        num,
    )


def _sorted_rows(
    keys: torch.Tensor, grid: VoxelGrid, bits: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sorted keys, their order, the row of each by the voxel above ``bits`` bits, and the number of rows inside."""
    keys, order = keys.sort()
    voxel = keys >> bits if bits else keys
    new = torch.ones_like(voxel)
    new[1:] = voxel[1:] != voxel[:-1]
    row = new.cumsum(0) - 1
    return keys, order, row, (new * (voxel < grid.num_voxels)).sum()


def _counts(index: torch.Tensor, rows: int) -> torch.Tensor:
    ones = torch.ones(1, device=index.device).expand(len(index))
    return torch.zeros(rows, device=index.device).scatter_add_(0, index, ones)


def _coords(voxel: torch.Tensor, grid: VoxelGrid) -> torch.Tensor:
    """z, y, x."""
    columns = (
        voxel // (grid.shape[0] * grid.shape[1]),
        voxel // grid.shape[0] % grid.shape[1],
        voxel % grid.shape[0],
    )
    return torch.stack(columns, dim=1).int()


def deskewed(
    data: torch.Tensor, poses: torch.Tensor, scan_ns: int, min_range: float, max_range: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of 48-byte points with t at byte 20: positions ``[N, 3]``, which are in range ``[N]``, all words ``[N, 12]``."""
    words = data.view(torch.float32).view(-1, 12)
    xyz, t = words[:, :3], data.view(torch.int32).view(-1, 12)[:, 5]
    column = (t.double() * (len(poses) / scan_ns) + 0.5).long().clamp(0, len(poses) - 1)
    pose = poses[column]
    moved = (pose[:, :, :3] * xyz[:, None]).sum(dim=2) + pose[:, :, 3]
    range2 = xyz.square().sum(dim=1)
    return moved, (range2 >= min_range**2) & (range2 < max_range**2), words


# ---- images


def normalised(rgb: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """``(rgb / 255 - mean) / std`` of ``[3, H, W]``, fp16."""
    factor = _constant(tuple(1 / 255 / s for s in std), torch.float32, rgb.device)[:, None, None]
    offset = _constant(tuple(-m / s for m, s in zip(mean, std, strict=True)), torch.float32, rgb.device)[:, None, None]
    return torch.addcmul(offset, rgb, factor).half()


def resized(planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """``[C, *size]`` float32 of ``[C, H, W]`` uint8 or fp16, bilinear; fp16 holds every byte, and is half the bytes."""
    return F.interpolate(planes[None].half(), size, mode='bilinear', align_corners=False)[0].float()


def rgb_of_yuv(y: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
    """BT.601 of limited range: ``[1, H, W]`` and ``[2, H, W]`` to ``[3, H, W]``, 0 to 255."""
    y, u, v = (y[0] - 16) * 1.164, uv[0] - 128, uv[1] - 128
    return torch.stack([y + 1.596 * v, y - 0.392 * u - 0.813 * v, y + 2.017 * u]).clamp_(0, 255)


def bgr8(data: torch.Tensor, width: int, height: int, size: tuple[int, int]) -> torch.Tensor:
    """``[3, *size]`` R G B. The channels stay last until little is left of them."""
    return resized(data.view(height, width, 3).permute(2, 0, 1), size).flip(0)


def yuyv(data: torch.Tensor, width: int, height: int, size: tuple[int, int]) -> torch.Tensor:
    """Planes are resized as they are, half as wide, and only then become R G B."""
    y = data.view(1, height, width, 2)[..., 0]
    uv = data.view(height, width // 2, 4)[..., 1::2].permute(2, 0, 1)
    return rgb_of_yuv(resized(y, size), resized(uv, size))


def nv12(data: torch.Tensor, width: int, height: int, size: tuple[int, int]) -> torch.Tensor:
    """The same of planes that are apart."""
    y = data[: width * height].view(1, height, width)
    uv = data[width * height :].view(height // 2, width // 2, 2).permute(2, 0, 1)
    return rgb_of_yuv(resized(y, size), resized(uv, size))


def jpeg_planes(data: torch.Tensor, width: int, height: int, size: tuple[int, int]) -> torch.Tensor:
    """The same of the planes of a JPEG, 4:2:0 in whole blocks, of full range; ``width`` is whole blocks too."""
    rows = -(-height // 16) * 16
    y = data[: rows * width].view(1, rows, width)[:, :height]
    blue, red = data[rows * width :].view(2, rows // 2, width // 2)[:, : height // 2]
    luma, (b, r) = resized(y, size)[0], resized(torch.stack([blue, red]), size) - 128
    return torch.stack([luma + 1.402 * r, luma - 0.344136 * b - 0.714136 * r, luma + 1.772 * b]).clamp_(0, 255)


def bayer_rggb8(data: torch.Tensor, width: int, height: int, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear demosaicing as one convolution over cells of 2 × 2 pixels."""
    pixels = F.pad(data.view(1, 1, height, width).half(), (1, 1, 1, 1), mode='reflect')
    return resized(F.pixel_shuffle(F.conv2d(pixels, _demosaic(data.device), stride=2), 2)[0], size)


@functools.cache
def _demosaic(device: torch.device) -> torch.Tensor:
    """``[12, 1, 4, 4]``: of each colour at each pixel of a cell, the mean of its nearest pixels of that colour."""
    weights = torch.zeros(3, 2, 2, 4, 4)
    for c, colour in enumerate('RGB'):
        for y in range(2):
            for x in range(2):
                # The cell's own pixels are at 1 and 2 of the window, which the padding leaves in the pattern.
                near = [
                    (j, i)
                    for j in range(y, y + 3)
                    for i in range(x, x + 3)
                    if 'RGGB'[(j - 1) % 2 * 2 + (i - 1) % 2] == colour
                ]
                own = (y + 1, x + 1)
                for j, i in [own] if own in near else near:
                    weights[c, y, x, j, i] = 1
    weights /= weights.sum(dim=(3, 4), keepdim=True)
    return weights.view(12, 1, 4, 4).half().to(device)


def rectified_bgr8(data: torch.Tensor, width: int, height: int, grid: torch.Tensor) -> torch.Tensor:
    """By a map ``[H, W, 2]`` already normalised to -1 … 1; float32, since fp16 has not the digits of a position."""
    pixels = data.view(height, width, 3).permute(2, 0, 1)[None].float()
    return F.grid_sample(pixels, grid[None], mode='bilinear', padding_mode='zeros', align_corners=False)[0].flip(0)


# ---- streams


def slerped(turns: torch.Tensor, stamps: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Quaternions ``[B, S, 4]`` at ``[B, T]``, the shortest way."""
    after = torch.searchsorted(stamps, targets, right=True).clamp(1, stamps.shape[1] - 1)
    t0, t1 = stamps.gather(1, after - 1), stamps.gather(1, after)
    alpha = ((targets - t0).double() / (t1 - t0).double()).float().unsqueeze(2)
    rows = torch.arange(len(turns), device=turns.device).unsqueeze(1)
    a, b = turns[rows, after - 1], turns[rows, after]
    cosine = (a * b).sum(dim=2, keepdim=True)
    angle = torch.acos(cosine.abs().clamp(max=1))
    straight = angle < 1e-4
    sine = torch.where(straight, 1, angle.sin())
    left = torch.where(straight, 1 - alpha, ((1 - alpha) * angle).sin() / sine)
    right = torch.where(straight, alpha, (alpha * angle).sin() / sine)
    return F.normalize(left * a + right * torch.where(cosine < 0, -b, b), dim=2)
