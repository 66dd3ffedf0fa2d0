"""The small vision-language-action model of the simulated cell.

Pictures, joint positions and an instruction become embeddings; from the embeddings come, in one pass, the reference
chunk (by regression) and the RL token. Its eyes are taught first and looked through afterwards: real time on one core.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlt_ros.rl.rl_token import TokenEncoder
from rlt_ros.rl.transformer import TransformerLayer
from rlt_ros.vla.instruction import INSTRUCTION_BUCKETS, INSTRUCTION_LENGTH

_CHANNELS = (24, 48)
"""Of the first convolution and of those at quarter resolution."""
_PLACE_GAIN = 3.0
"""Amplitude of the waves that write the place: its share of what the token must rebuild."""
_WAVES = (16.0, 0.8)
"""Longest and shortest wave that writes the place, in its own units: one of 4 mm aside, so 64 and 3.2 mm."""


@dataclass(frozen=True)
class SmallVLAConfig:
    """Sizes of the small VLA.

    Attributes:
        cameras: number of cameras.
        image_size: side of the square images, pixels; a multiple of 32.
        joints: number of joints.
        horizon: rows of the reference chunk.
        width: features of an embedding.
        layers: transformer layers.
        heads: attention heads.
        keypoints: of each camera.
        token_dim: size of the RL token.
        grounding: values that say where the parts are, see `Eyes`.
    """

    cameras: int = 3
    image_size: int = 96
    joints: int = 7
    horizon: int = 50
    width: int = 128
    layers: int = 3
    heads: int = 4
    keypoints: int = 32
    token_dim: int = 128
    grounding: int = 5

    @property
    def patches(self) -> int:
        """Embeddings of the scene in one picture."""
        return (self.image_size // 32) ** 2

    @property
    def points(self) -> int:
        """Numbers of one camera's keypoints: two coordinates and a strength each."""
        return 3 * self.keypoints

    @property
    def embeddings(self) -> int:
        """Embeddings that the RL token is made of: scenes, keypoints, place, joint state; the words are dropped."""
        return self.cameras * (self.patches + 1) + 2


class Eyes(nn.Module):
    """What is seen: keypoints by soft-argmax at quarter resolution, coarse patches of the scene, and the place.

    The place is where the parts are, normalised: the auxiliary output that makes the keypoints look at what matters.
    """

    def __init__(self, config: SmallVLAConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        first, width, size = *_CHANNELS, config.image_size // 4
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, width, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=2, dilation=2),
            nn.ReLU(inplace=True),
        ).to(memory_format=torch.channels_last)  # pixels arrive in that layout: faster on a CPU
        self.maps = nn.Parameter(torch.randn(config.cameras, config.keypoints, width) / width**0.5)
        self.scene = nn.Sequential(
            nn.Conv2d(width, 64, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 96, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(96, config.width, 3, stride=2, padding=1),
        ).to(memory_format=torch.channels_last)
        at = (torch.arange(size) + 0.5) / size * 2 - 1
        self.register_buffer("grid", torch.stack([at.repeat(size), at.repeat_interleave(size)], 1), persistent=False)
        self.words = nn.Embedding(INSTRUCTION_BUCKETS, 32)
        self.place = nn.Sequential(
            nn.Linear(config.cameras * config.points + config.joints + 32, 256),
            nn.GELU(),
            nn.Linear(256, 256),
            nn.GELU(),
            nn.Linear(256, config.grounding),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Look.

        Args:
            images: uint8, shape (B, cameras, size, size, 3).

        Returns:
            Keypoints, shape (B, cameras, 3 keypoints), each x and y in [-1, 1] and a strength; and the scene, shape
            (B, cameras, patches, width).
        """
        config = self.config
        batch, cameras = images.shape[:2]
        kind = torch.bfloat16 if torch.is_autocast_enabled(images.device.type) else torch.float32
        pixels = images.flatten(0, 1).permute(0, 3, 1, 2).to(kind)
        seen = self.stem(pixels.mul_(1 / 127.5).sub_(1.0))
        scene = self.scene(seen).flatten(2).transpose(1, 2).float()
        flat = seen.flatten(2).view(batch, cameras, seen.shape[1], -1)
        maps = torch.einsum("bcfp,ckf->bckp", flat, self.maps.to(flat.dtype)).float()
        attention = maps.softmax(-1)
        strength = (attention * maps).sum(-1, keepdim=True) * 0.1
        points = torch.cat([attention @ self.grid, strength], -1).flatten(2)
        return points, scene.view(batch, cameras, config.patches, config.width)

    def locate(self, points: Tensor, position: Tensor, instruction: Tensor) -> Tensor:
        """The place, shape (B, grounding).

        Args:
            points: of `forward`.
            position: normalised joint positions, shape (B, joints).
            instruction: word ids, shape (B, INSTRUCTION_LENGTH).
        """
        told = self.words(instruction).mean(1)
        place: Tensor = self.place(torch.cat([points.flatten(1), position, told], 1))
        return place


class SmallVLA(nn.Module):
    """Backbone and action head, on what the eyes saw."""

    def __init__(self, config: SmallVLAConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        width = config.width
        self.eyes = Eyes(config)
        self.patch_positions = nn.Parameter(torch.randn(1, config.cameras, config.patches, width) * 0.02)
        self.points = nn.Linear(config.points, width)
        self.point_positions = nn.Parameter(torch.randn(1, config.cameras, width) * 0.02)
        self.place = nn.Linear(config.grounding, width)
        self.state = nn.Sequential(nn.Linear(config.joints, width), nn.GELU(), nn.Linear(width, width))
        self.words = nn.Embedding(INSTRUCTION_BUCKETS, width)
        self.word_positions = nn.Parameter(torch.randn(1, INSTRUCTION_LENGTH, width) * 0.02)
        self.readout = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.layers = nn.ModuleList(TransformerLayer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(
            nn.Linear(width, 256),
            nn.GELU(),
            nn.Linear(256, 256),
            nn.GELU(),
            nn.Linear(256, config.horizon * config.joints),
        )

    def forward(self, points: Tensor, scene: Tensor, position: Tensor, instruction: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings and actions.

        Args:
            points: of `Eyes`, shape (B, cameras, 3 keypoints).
            scene: of `Eyes`, shape (B, cameras, patches, width).
            position: normalised joint positions, shape (B, joints).
            instruction: word ids, shape (B, INSTRUCTION_LENGTH).

        Returns:
            Final embeddings (B, M, width), of which the last but one is the place in `waves`; and actions
            (B, horizon, joints) in units of the demonstrations' standard deviation per tick.
        """
        config = self.config
        batch = len(points)
        place = self.eyes.locate(points, position, instruction).detach()
        x = torch.cat(
            [
                (scene + self.patch_positions).flatten(1, 2),
                self.points(points) + self.point_positions,
                self.place(place)[:, None],
                self.state(position)[:, None],
                self.words(instruction) + self.word_positions,
                self.readout.expand(batch, -1, -1),
            ],
            dim=1,
        )
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        actions = self.head(x[:, -1]).view(batch, config.horizon, config.joints)
        end = config.embeddings
        z = torch.cat([x[:, : end - 2], waves(place, config.width)[:, None], x[:, end - 1 : end]], dim=1)
        return z, actions


def waves(place: Tensor, width: int) -> Tensor:
    """The place as sines and cosines of several wavelengths, shape (B, width).

    Its length is always the same: the encoder's layer norm, which takes lengths away, takes nothing of it. Long waves
    say where, nearly linearly; short ones make the token exact.

    Args:
        place: normalised, shape (B, grounding).
        width: of an embedding; what the waves do not fill is 0.
    """
    count = width // (2 * place.shape[1])
    longest, shortest = _WAVES
    lengths = longest * (shortest / longest) ** (torch.arange(count, device=place.device) / max(1, count - 1))
    phase = (place.clamp(-longest / 2, longest / 2)[..., None] * (2 * math.pi / lengths)).flatten(1)
    written = torch.cat([phase.sin(), phase.cos()], 1)
    return _PLACE_GAIN * functional.pad(written, (0, width - written.shape[1]))


class ServedVLA(nn.Module):
    """What goes into the bundle's ONNX file: physical units in, physical units out, one pass."""

    def __init__(self, vla: SmallVLA, encoder: TokenEncoder, mean: Tensor, std: Tensor, action_std: Tensor) -> None:
        """Wrap a trained model.

        Args:
            vla: eyes, backbone and head.
            encoder: the RL token's encoder.
            mean: mean joint positions, shape (joints,).
            std: their standard deviation, shape (joints,).
            action_std: standard deviation of a target's change per tick, shape (joints,).
        """
        super().__init__()
        self.vla, self.encoder = vla, encoder
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.register_buffer("action_std", action_std)

    def forward(self, images: Tensor, position: Tensor, instruction: Tensor) -> tuple[Tensor, Tensor]:
        """Token (token_dim,) and absolute joint targets (horizon, joints) of one observation without batch axis.

        Args:
            images: uint8, shape (cameras, size, size, 3).
            position: joint positions in rad (grippers 0-1), shape (joints,).
            instruction: word ids, shape (INSTRUCTION_LENGTH,).
        """
        normalised = (position - self.mean) / self.std
        points, scene = self.vla.eyes(images[None])
        z, actions = self.vla(points, scene, normalised[None], instruction[None])
        reference = position + torch.cumsum(actions[0] * self.action_std, dim=0)
        return self.encoder(z)[0], reference
