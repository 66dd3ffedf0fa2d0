"""Write test/vla/graphs: an imported SmolVLA and an imported ACT, with what LeRobot's policies say of some moments.

.venv-lerobot/bin/python test/with_lerobot/make_graphs.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from tiny_policies import CAMERAS, SIDE, save
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from rlt_ros.normaliser import Normaliser
from rlt_ros.vla.dataset import Contents
from rlt_ros.vla.imports import Robot
from rlt_ros.vla.lerobot_import import Given, import_lerobot
from rlt_ros.vla.lerobot_policy import load_policy

TASKS = {"plug": "insert the plug", "wait": "wait here"}
ROBOT = Robot(
    Contents("bench", ("shoulder", "elbow", "gripper"), CAMERAS, SIDE, 0.05),
    TASKS,
    Normaliser(np.zeros(6), np.ones(6), np.full(3, 0.01)),
)


class Narrow(ResNet):
    """A ResNet of an eighth of the width: 45 MB would be too much for a file of a test."""

    def _make_layer(self, block: Any, planes: int, *arguments: Any, **options: Any) -> nn.Sequential:
        return super()._make_layer(block, planes // 8, *arguments, **options)


def narrow(**options: Any) -> ResNet:
    made = Narrow(BasicBlock, [1, 1, 1, 1], **{name: value for name, value in options.items() if name != "weights"})
    made.fc = nn.Linear(64, 1)
    return made


def main() -> None:
    """Make both."""
    torchvision.models.resnet18 = narrow
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for kind in ("smolvla", "act"):
            checkpoint, out = save(kind, root), Path(__file__).parents[1] / "vla/graphs" / kind
            vlm = root / "vlm" if kind == "smolvla" else None
            made = import_lerobot(checkpoint, out, kind, ROBOT, Given({}, vlm=vlm))
            policy = load_policy(checkpoint, vlm=vlm)
            rng = np.random.default_rng(0)
            images = rng.integers(0, 255, (2, len(CAMERAS), SIDE, SIDE, 3), np.uint8)
            positions = rng.normal(size=(2, policy.joints)).astype(np.float32)
            said = [
                policy.infer(*moment, text)
                for moment, text in zip(zip(images, positions, strict=True), TASKS.values(), strict=True)
            ]
            np.savez_compressed(
                out / "expected.npz",
                positions=positions,
                embeddings=torch.stack([one.embeddings for one in said]).numpy(),
                rows=torch.stack([one.rows for one in said]).numpy(),
            )
            print(kind, made.training, (out / "model.onnx").stat().st_size)


if __name__ == "__main__":
    main()
