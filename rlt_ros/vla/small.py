"""The small vision-language-action model of the simulated cell.

Three images, joint positions and an instruction become embeddings; from the embeddings come, in one pass, the
reference chunk (by regression) and the RL token. About 1.4 million parameters: real time on one CPU core.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rlt_ros.rl.rl_token import TokenEncoder
from rlt_ros.rl.transformer import TransformerLayer
from rlt_ros.vla.instruction import INSTRUCTION_BUCKETS, INSTRUCTION_LENGTH


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
        token_dim: size of the RL token.
        grounding: values of the auxiliary output that says where the parts are; see `SmallVLA.ground`.
    """

    cameras: int = 3
    image_size: int = 96
    joints: int = 14
    horizon: int = 50
    width: int = 128
    layers: int = 3
    heads: int = 4
    token_dim: int = 128
    grounding: int = 5

    @property
    def patches(self) -> int:
        """Embeddings of one image."""
        return (self.image_size // 32) ** 2

    @property
    def embeddings(self) -> int:
        """Embeddings that the RL token is made of: images and joint state; the words are dropped."""
        return self.cameras * self.patches + 1


class SmallVLA(nn.Module):
    """Backbone and action head."""

    def __init__(self, config: SmallVLAConfig) -> None:
        """Build with random weights."""
        super().__init__()
        self.config = config
        width = config.width
        self.stem = nn.Sequential(
            nn.Conv2d(3, 48, 4, stride=4),
            nn.ReLU(),
            nn.Conv2d(48, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(96, width, 3, stride=2, padding=1),
        ).to(memory_format=torch.channels_last)  # pixels arrive in that layout: 1.3 times as fast on a CPU
        self.patch_positions = nn.Parameter(torch.randn(1, config.cameras, config.patches, width) * 0.02)
        self.state = nn.Sequential(nn.Linear(config.joints, width), nn.GELU(), nn.Linear(width, width))
        self.words = nn.Embedding(INSTRUCTION_BUCKETS, width)
        self.word_positions = nn.Parameter(torch.randn(1, INSTRUCTION_LENGTH, width) * 0.02)
        self.readout = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.layers = nn.ModuleList(TransformerLayer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.grounding = nn.Linear(width, config.grounding)
        self.head = nn.Sequential(
            nn.Linear(width, 256),
            nn.GELU(),
            nn.Linear(256, 256),
            nn.GELU(),
            nn.Linear(256, config.horizon * config.joints),
        )

    def forward(self, images: Tensor, position: Tensor, instruction: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings and actions.

        Args:
            images: uint8, shape (B, cameras, size, size, 3).
            position: normalised joint positions, shape (B, joints).
            instruction: word ids, shape (B, INSTRUCTION_LENGTH).

        Returns:
            Final embeddings of images and state (B, M, width), and actions (B, horizon, joints) in units of
            the demonstrations' standard deviation per tick.
        """
        config = self.config
        batch = images.shape[0]
        pixels = images.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        patches = self.stem(pixels).flatten(2).transpose(1, 2)
        patches = patches.view(batch, config.cameras, config.patches, config.width) + self.patch_positions
        x = torch.cat(
            [
                patches.flatten(1, 2),
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
        return x[:, : config.embeddings], actions

    def ground(self, z: Tensor) -> Tensor:
        """Where the parts are, read linearly from the mean of the images' embeddings; only used in training.

        Args:
            z: embeddings, shape (B, M, width).

        Returns:
            Normalised grounding, shape (B, grounding).
        """
        out: Tensor = self.grounding(z[:, :-1].mean(1))
        return out


class ServedVLA(nn.Module):
    """What goes into the bundle's ONNX file: physical units in, physical units out, one pass."""

    def __init__(self, vla: SmallVLA, encoder: TokenEncoder, mean: Tensor, std: Tensor, action_std: Tensor) -> None:
        """Wrap a trained model.

        Args:
            vla: backbone and head.
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
        z, actions = self.vla(images[None], normalised[None], instruction[None])
        reference = position + torch.cumsum(actions[0] * self.action_std, dim=0)
        return self.encoder(z)[0], reference
