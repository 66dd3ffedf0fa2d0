"""A frozen ResNet-10 in the place of the RL token: the paper's ablation, `rlt train --without token`.

He et al. (2016), one basic block a stage. The paper's encoder comes with ImageNet weights. Nothing is downloaded here:
this one learns on the robot's own pictures what needs no labels, to tell the joints' positions from them, before it is
frozen (`rlt adapt resnet`); without that its weights are random. It reads positions instead of averages (spatial
soft-argmax), which random features need: a weak encoder then, but one that sees.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from rlt_ros.vla.backend import Inference, TokenSource
from rlt_ros.vla.bundle import Bundle, BundleError
from rlt_ros.vla.demos import Demonstrations

RESNET_FILE = "resnet.safetensors"
_HELD_OUT = 0.1
"""Share of the episodes that pre-training does not see."""

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
        """Vectors (..., size) with unit variance of pictures (..., cameras, 3, H, W) from -1 to 1."""
        moments, images = images.shape[:-4], images.reshape(-1, *images.shape[-3:])
        x = functional.max_pool2d(functional.relu(functional.instance_norm(self.stem(images))), 3, 2, 1)
        for block in self.blocks:
            x = block(x)
        weight = (_SHARPNESS * x).flatten(2).softmax(-1).view_as(x)
        height, width = x.shape[2:]
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        where = torch.cat([(weight.sum(3) * rows).sum(2), (weight.sum(2) * columns).sum(2)], 1)
        return functional.layer_norm(self.project(where.reshape(*moments, -1)), (self.project.out_features,))


def pretrain(
    demos: Demonstrations,
    size: int,
    *,
    steps: int,
    batch: int = 16,
    rate: float = 1e-3,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[ResNet10, float]:
    """Learn to tell the joints' positions from pictures: a task for which a robot needs nobody.

    Args:
        demos: pictures and positions.
        size: numbers of the vector.
        steps: gradient steps.
        batch: moments a step.
        rate: learning rate of Adam, falling to nothing.
        seed: of the batches.
        progress: called with the steps done.

    Returns:
        The network, and on episodes that it did not see the share of the positions' variance that it misses.
    """
    rng = np.random.default_rng(seed)
    episodes = rng.permutation(np.unique(demos.episode))
    seen = np.isin(demos.episode, episodes[max(1, round(_HELD_OUT * len(episodes))) :])
    wanted = torch.from_numpy((demos.position - demos.position.mean(0)) / (demos.position.std(0) + 1e-3))
    network = ResNet10(demos.images.shape[1], size).requires_grad_()
    head = nn.Linear(size, demos.position.shape[1])
    optimiser = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        chosen = rng.choice(np.flatnonzero(seen), batch)
        loss = functional.mse_loss(head(network(_pictures(demos.images[chosen]))), wanted[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        progress(step + 1)
    network.requires_grad_(requires_grad=False)
    with torch.no_grad():
        held = np.flatnonzero(~seen)[:: max(1, int((~seen).sum() // 200))]
        told = torch.cat([head(network(_pictures(demos.images[[index]]))) for index in held])
        missed = float(functional.mse_loss(told, wanted[held]))
    return network, missed


def save_resnet(network: ResNet10, bundle: Bundle) -> Path:
    """Write its weights beside a bundle's model, new and renamed."""
    path = bundle.directory / RESNET_FILE
    fresh = path.with_suffix(".new")
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, fresh)
    fresh.replace(path)
    return path


def load_resnet(bundle: Bundle) -> ResNet10 | None:
    """The pre-trained one beside a bundle; None: there is none.

    Raises:
        BundleError: the file is damaged, or of other cameras or another token.
    """
    path = bundle.directory / RESNET_FILE
    if not path.is_file():
        return None
    network = ResNet10(len(bundle.cameras), bundle.token_dim)
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise BundleError(f"{path} cannot be read ({error}): make it anew with rlt adapt resnet") from error
    return network


def _pictures(images: NDArray[np.uint8]) -> Tensor:
    """From (..., H, W, 3) of bytes to (..., 3, H, W) from -1 to 1."""
    return (torch.from_numpy(images).movedim(-1, -3).float() / 127.5 - 1).contiguous()


class EncodedImages:
    """A `TokenSource` whose token is the ResNet's vector; the reference stays the VLA's."""

    def __init__(self, backend: TokenSource, encoder: ResNet10) -> None:
        """Put the encoder beside `backend`."""
        self._backend, self._encoder = backend, encoder

    def set_instruction(self, instruction: str) -> None:
        """See `TokenSource`."""
        self._backend.set_instruction(instruction)

    def infer(self, images: NDArray[np.uint8], position: NDArray[Any]) -> Inference:
        """See `TokenSource`."""
        token = self._encoder(_pictures(images)).numpy()
        return dataclasses.replace(self._backend.infer(images, position), token=token)
