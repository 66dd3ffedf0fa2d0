"""The token of a frozen VLA: embeddings once, a token that carries them, an encoder that is bound to its VLA."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from vla_support import CAMERAS, JOINTS, SENTENCES, SIZE, moment, tiny_bundle

from rlt_ros.types import GROUNDING, Episode
from rlt_ros.vla.backend import Inference
from rlt_ros.vla.bundle import Bundle, BundleError, load_bundle
from rlt_ros.vla.frozen import FrozenStage, TokenConfig, embed, save_encoder
from rlt_ros.vla.loaded import LoadedVla
from rlt_ros.vla.probe import probe

CONFIG = TokenConfig(steps=300, batch=32, learning_rate=3e-3, token_dim=8, held_out=0.3)
FRAMES, STRIDE = 40, 4


def episode(number: int, *, success: bool = True) -> Episode:
    """Pictures whose colours wander; two tasks in turn."""
    rng = np.random.default_rng(number)
    task = list(SENTENCES)[number % 2]
    ticks = np.arange(0, FRAMES, STRIDE)
    colours = rng.integers(0, 255, (len(ticks), len(CAMERAS), 1, 1, 3))
    position = rng.normal(size=(FRAMES, len(JOINTS))).astype(np.float32)
    return Episode(
        task=task,
        instruction=SENTENCES[task],
        setting="controlled",
        ticks=FRAMES if success else 0,
        image_ticks=ticks,
        images=np.broadcast_to(colours, (len(ticks), len(CAMERAS), SIZE, SIZE, 3)).astype(np.uint8),
        position=position,
        velocity=np.zeros_like(position),
        before=position[0].astype(np.float64),
        command=position.astype(np.float64),
        critical=np.ones(FRAMES, dtype=bool),
        grounding=np.full((FRAMES, GROUNDING), np.nan, np.float32),
    )


class Counting(LoadedVla):
    """Counts its passes; fails when it has made too many."""

    passes, most = 0, 10**9

    def infer_batch(self, images: np.ndarray[Any, Any], positions: np.ndarray[Any, Any]) -> list[Inference]:
        if self.passes >= self.most:
            raise KeyboardInterrupt
        self.passes += len(images)
        return super().infer_batch(images, positions)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[FrozenStage, Bundle]:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("frozen")
    bundle = tiny_bundle(root / "bundle")
    demos, files = embed(LoadedVla(bundle), map(episode, range(20)), root / "cache")
    stage = FrozenStage(demos, files, CONFIG)
    while stage.step < CONFIG.steps:
        stage.train_step()
    return stage, save_encoder(stage, bundle, probe(stage))


def test_the_token_carries_what_the_frozen_vla_sees(trained: tuple[FrozenStage, Bundle]) -> None:
    _, bundle = trained
    figures = bundle.training["token_probe"]
    assert figures["true"] < 0.5 * figures["shuffled"]
    assert figures["true"] < 0.5 * figures["zero"]


def test_what_flies_is_what_was_trained(trained: tuple[FrozenStage, Bundle]) -> None:
    stage, bundle = trained
    vla = LoadedVla(load_bundle(bundle.directory))
    vla.set_instruction(SENTENCES["wait"])
    made = vla.infer(*moment())
    assert made.embeddings is not None
    with torch.no_grad():
        z = (torch.from_numpy(made.embeddings[None]) - stage.mean) / stage.scale
        expected = stage.token.encoder(z)[0].numpy()
    np.testing.assert_allclose(made.token, expected, atol=1e-4)
    assert bundle.id != tiny_bundle(bundle.directory.with_name("other")).id


def test_the_encoder_does_not_serve_another_vla(trained: tuple[FrozenStage, Bundle], tmp_path: Path) -> None:
    _, bundle = trained
    other = tiny_bundle(tmp_path / "other", seed=1)
    shutil.copy(bundle.directory / "encoder.onnx", other.directory)
    dataclasses.replace(other, token_dim=8, encoder=bundle.encoder, files=bundle.files).save()
    with pytest.raises(BundleError, match=r"embeddings of another VLA.*rlt adapt token"):
        load_bundle(other.directory)
    copy = Path(shutil.copytree(bundle.directory, tmp_path / "copy"))
    (copy / "encoder.onnx").write_bytes(b"no encoder")
    with pytest.raises(BundleError, match=r"encoder.onnx is not the file"):
        load_bundle(copy)
    (copy / "encoder.onnx").unlink()
    with pytest.raises(BundleError, match=r"encoder.onnx is missing"):
        load_bundle(copy)


def test_an_interrupted_pass_goes_on_where_it_was(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    first = Counting(bundle)
    first.most = 25  # in the third episode of ten observations
    with pytest.raises(KeyboardInterrupt):
        embed(first, map(episode, range(4)), tmp_path / "cache")
    again = Counting(bundle)
    demos, files = embed(again, map(episode, range(4)), tmp_path / "cache")
    assert again.passes == 20
    whole, other = embed(Counting(bundle), map(episode, range(4)), tmp_path / "fresh")
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in other]
    np.testing.assert_array_equal(demos.episode, whole.episode)


def test_failures_are_left_out_and_a_vla_without_embeddings_is_named(tmp_path: Path) -> None:
    vla = Counting(tiny_bundle(tmp_path / "bundle"))
    made = [episode(0), episode(1, success=False), episode(2)]
    demos, files = embed(vla, made, tmp_path / "cache")
    assert vla.passes == 20
    assert len(files) == 2
    assert len(FrozenStage(demos, files, CONFIG).demos.episode) == 20
    with pytest.raises(ValueError, match="are not those of the data"):
        FrozenStage(demos, files[:1], CONFIG)

    class Blind(Counting):
        def infer_batch(self, images: np.ndarray[Any, Any], positions: np.ndarray[Any, Any]) -> list[Inference]:
            made = super().infer_batch(images, positions)
            return [dataclasses.replace(one, embeddings=None) for one in made]

    with pytest.raises(BundleError, match="shows no embeddings"):
        embed(Blind(vla.bundle), made, tmp_path / "none")
