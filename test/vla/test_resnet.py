"""The frozen image encoder of the ablation without RL token."""

from __future__ import annotations

import numpy as np

from rlt_ros.vla.backend import Inference
from rlt_ros.vla.resnet import EncodedImages


class Vla:
    """Always the same."""

    def set_instruction(self, instruction: str) -> None:
        self.told = instruction

    def infer(self, images: np.ndarray, position: np.ndarray) -> Inference:
        return Inference(np.ones(16, np.float32), np.full((50, 14), 0.5, np.float32), 0.001)


def test_only_the_token_is_replaced_by_what_the_pictures_show() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 3, 96, 96, 3), dtype=np.uint8)
    encoded, twin = (EncodedImages(Vla(), cameras=3, token_dim=16) for _ in range(2))
    first, other = encoded.infer(images[0], np.zeros(14)), encoded.infer(images[1], np.zeros(14))
    assert first.token.shape == (16,)
    assert not np.allclose(first.token, other.token, atol=0.1)
    assert np.array_equal(first.token, twin.infer(images[0], np.zeros(14)).token), "the same in every process"
    assert np.array_equal(first.reference, np.full((50, 14), 0.5))
