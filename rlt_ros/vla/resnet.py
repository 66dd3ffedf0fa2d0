"""A frozen ResNet-10 in the place of the RL token: the paper's ablation, `rlt train --without token`.

He et al. (2016), one basic block a stage. The paper's encoder comes with ImageNet weights; this one keeps its random
ones, because nothing is downloaded here, and reads positions instead of averages (spatial soft-argmax), which random
features need: a weak encoder, but one that sees.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rlt_ros.vla.backend import Inference, TokenSource

_WIDTHS = (64, 128, 256, 512)
_SHARPNESS = 4.0
"""Of the soft-argmax, on features of unit variance."""


class _Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # Instances are normalised: a random network has no statistics of a data set.
        y = functional.relu(functional.instance_norm(self.first(x)))
        return functional.relu(functional.instance_norm(self.second(y)) + functional.instance_norm(self.shortcut(x)))


class ResNet10(nn.Module):
    """Images to one vector."""

    def __init__(self, cameras: int, size: int) -> None:
        """Random weights, the same in every process.

        Args:
            cameras: pictures a pass.
            size: numbers of the vector.
        """
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, _WIDTHS[0], 7, 2, 3, bias=False)
            channels = (_WIDTHS[0], *_WIDTHS[:-1])
            self.blocks = nn.ModuleList(
                _Block(channels[i], width, 1 if i == 0 else 2) for i, width in enumerate(_WIDTHS)
            )
            self.project = nn.Linear(2 * _WIDTHS[-1] * cameras, size, bias=False)
        self.requires_grad_(requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Vector (size,) with unit variance of pictures (cameras, 3, H, W) from -1 to 1."""
        x = functional.max_pool2d(functional.relu(functional.instance_norm(self.stem(images))), 3, 2, 1)
        for block in self.blocks:
            x = block(x)
        weight = (_SHARPNESS * x).flatten(2).softmax(-1).view_as(x)
        height, width = x.shape[2:]
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        where = torch.cat([(weight.sum(3) * rows).sum(2), (weight.sum(2) * columns).sum(2)])
        return functional.layer_norm(self.project(where.flatten()), (self.project.out_features,))


class EncodedImages:
    """A `TokenSource` whose token is the ResNet's vector; the reference stays the VLA's."""

    def __init__(self, backend: TokenSource, cameras: int, token_dim: int) -> None:
        """Put the encoder beside `backend`."""
        self._backend = backend
        self._encoder = ResNet10(cameras, token_dim)

    def set_instruction(self, instruction: str) -> None:
        """See `TokenSource`."""
        self._backend.set_instruction(instruction)

    def infer(self, images: NDArray[np.uint8], position: NDArray[Any]) -> Inference:
        """See `TokenSource`."""
        pictures = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        token = self._encoder(pictures.contiguous()).numpy()
        return dataclasses.replace(self._backend.infer(images, position), token=token)
