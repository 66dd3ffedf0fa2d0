"""The frozen image encoder of the ablation without RL token."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from test_adapt import demonstrations
from vla_support import tiny_bundle

from rlt_ros.vla.backend import Inference
from rlt_ros.vla.bundle import BundleError
from rlt_ros.vla.resnet import RESNET_FILE, EncodedImages, ResNet10, load_resnet, pretrain, save_resnet


class Vla:
    """Always the same."""

    def set_instruction(self, instruction: str) -> None:
        self.told = instruction

    def infer(self, images: np.ndarray, position: np.ndarray) -> Inference:
        return Inference(np.ones(16, np.float32), np.full((50, 14), 0.5, np.float32), 0.001)


def test_only_the_token_is_replaced_by_what_the_pictures_show() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 3, 96, 96, 3), dtype=np.uint8)
    encoded, twin = (EncodedImages(Vla(), ResNet10(3, 16)) for _ in range(2))
    first, other = encoded.infer(images[0], np.zeros(14)), encoded.infer(images[1], np.zeros(14))
    assert first.token.shape == (16,)
    assert not np.allclose(first.token, other.token, atol=0.1)
    assert np.array_equal(first.token, twin.infer(images[0], np.zeros(14)).token), "the same in every process"
    assert np.array_equal(first.reference, np.full((50, 14), 0.5))


def test_what_was_pretrained_comes_back_and_is_not_the_random_one(tmp_path: Path) -> None:
    """The paper's partner of the token has seen something before: a random one is beaten for another reason."""
    bundle = tiny_bundle(tmp_path, token_dim=8)
    assert load_resnet(bundle) is None
    demos = demonstrations(60)
    demos = dataclasses.replace(demos, images=demos.images.repeat(2, 2).repeat(2, 3))
    steps: list[int] = []
    network, missed = pretrain(demos, bundle.token_dim, steps=6, batch=4, progress=steps.append)
    assert steps == list(range(1, 7))
    assert 0.0 < missed < 20.0
    cameras = len(bundle.cameras)
    assert demos.images.shape[1] == cameras
    save_resnet(network, bundle)
    again = load_resnet(bundle)
    assert again is not None
    pictures = torch.randn(2, cameras, 3, 64, 64)
    assert torch.equal(again(pictures), network(pictures))
    assert torch.allclose(again(pictures)[1], again(pictures[1]), atol=1e-5), "one by one as in a batch"
    assert not torch.allclose(again(pictures), ResNet10(cameras, bundle.token_dim)(pictures), atol=1e-3)
    (bundle.directory / RESNET_FILE).write_bytes(b"weights")
    with pytest.raises(BundleError, match="make it anew"):
        load_resnet(bundle)
