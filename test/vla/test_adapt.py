"""Stage 1 end to end on a handful of demonstrations: it learns, and ONNX says what PyTorch says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rlt_ros.vla.adapt import AdaptConfig, adapt, export
from rlt_ros.vla.backend import OnnxBackend
from rlt_ros.vla.demos import Demonstrations
from rlt_ros.vla.instruction import encode_instruction
from rlt_ros.vla.small import ServedVLA, SmallVLAConfig

JOINTS, HORIZON, SIZE = 3, 8, 32
MODEL = SmallVLAConfig(2, SIZE, JOINTS, HORIZON, width=32, layers=1, heads=2, token_dim=8)


def demonstrations(count: int = 120) -> Demonstrations:
    """The brightness of the first picture says how fast to move."""
    rng = np.random.default_rng(0)
    speed = rng.uniform(0, 1, count).astype(np.float32)
    images = rng.integers(0, 20, (count, 2, SIZE, SIZE, 3)).astype(np.uint8)
    images[:, 0] += (speed * 200).astype(np.uint8)[:, None, None, None]
    steps = np.repeat((speed[:, None, None] - 0.5) * 1e-3, HORIZON, 1).repeat(JOINTS, 2).astype(np.float32)
    return Demonstrations(
        images=images,
        position=rng.normal(size=(count, JOINTS)).astype(np.float32),
        velocity=rng.normal(size=(count, JOINTS)).astype(np.float32),
        steps=steps,
        valid=np.ones((count, HORIZON), dtype=bool),
        episode=(np.arange(count) // 10).astype(np.int32),
        ticks=np.full(count // 10, 10, np.int32),
    )


def test_the_pictures_are_learnt_and_onnx_agrees_with_torch(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    losses: list[float] = []
    adapted = adapt(
        demonstrations(),
        "push it",
        AdaptConfig(steps=150, batch=32),
        MODEL,
        lambda _, running: losses.append(running["vla"]),
    )
    assert losses[-1] < 0.5 * losses[0]
    description = {
        "name": "tiny",
        "version": "1",
        "robot": "r",
        "cameras": ("a", "b"),
        "joints": ("x", "y", "z"),
        "period": 0.02,
        "instruction": "push it",
        "tasks": ("t",),
    }
    bundle = export(adapted, tmp_path / "bundle", **description)
    scales = adapted.normaliser
    served = ServedVLA(
        adapted.vla,
        adapted.token.encoder,
        *(torch.from_numpy(x.copy()) for x in (scales.proprio_mean[:3], scales.proprio_std[:3], scales.action_std)),
    ).eval()
    rng = np.random.default_rng(1)
    backend = OnnxBackend(bundle)
    for _ in range(5):
        images = rng.integers(0, 255, (2, SIZE, SIZE, 3), dtype=np.uint8)
        position = rng.normal(size=JOINTS).astype(np.float32)
        with torch.no_grad():
            token, reference = served(
                torch.from_numpy(images), torch.from_numpy(position), torch.from_numpy(encode_instruction("push it"))
            )
        result = backend.infer(images, position)
        assert np.allclose(result.token, token.numpy(), atol=1e-4)
        assert np.allclose(result.reference, reference.numpy(), atol=1e-4)


def test_one_demonstration_is_too_few() -> None:
    with pytest.raises(ValueError, match="too few"):
        adapt(demonstrations(10), "push it", AdaptConfig(steps=1), MODEL)


def test_an_instruction_without_words_is_refused_and_words_count() -> None:
    with pytest.raises(ValueError, match="no word"):
        encode_instruction(" ... ")
    assert not np.array_equal(encode_instruction("insert the plug"), encode_instruction("insert the charger"))
