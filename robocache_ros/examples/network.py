# SPDX-License-Identifier: Apache-2.0
"""The network of the examples of a policy, untrained: put yours in its place."""

from __future__ import annotations

import torch


class Network(torch.nn.Module):
    """A speed, m/s, and a turn, rad/s, from the tensors of a frame, on any device."""

    def __init__(self, lidar: str, imu: str) -> None:
        super().__init__()
        self._lidar, self._imu = lidar, imu
        self._voxel = torch.nn.LazyLinear(16)
        self._head = torch.nn.LazyLinear(2)

    def forward(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return ``[2]``, each from -1 to 1; a frame without a point is one of zeros."""
        features = self._voxel(tensors[f'{self._lidar}.features'])
        scene = torch.cat([features, features.new_zeros(1, 16)]).amax(dim=0)
        return torch.tanh(self._head(torch.cat([scene, tensors[self._imu][-1]])))
