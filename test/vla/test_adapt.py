"""Stage 1 on made-up demonstrations: it learns, resumes, proves its token, and ONNX says what PyTorch says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rlt_ros.types import GROUNDING
from rlt_ros.vla.adapt import Stage1
from rlt_ros.vla.config import AdaptConfig
from rlt_ros.vla.demos import Demonstrations
from rlt_ros.vla.export import export, summarise
from rlt_ros.vla.instruction import encode_instruction
from rlt_ros.vla.loaded import LoadedVla
from rlt_ros.vla.small import ServedVLA, SmallVLAConfig, waves

JOINTS, HORIZON, SIZE = 3, 8, 32
MODEL = SmallVLAConfig(2, SIZE, JOINTS, HORIZON, width=32, layers=1, heads=2, token_dim=8)
WORDS = ("push it", "pull it")


def demonstrations(count: int = 240, *, grounded: bool = True) -> Demonstrations:
    """The brightness of the first picture says how fast to move, the instruction which way."""
    rng = np.random.default_rng(0)
    speed = rng.uniform(0, 1, count).astype(np.float32)
    told = rng.integers(0, 2, count).astype(np.int32)
    images = rng.integers(0, 20, (count, 2, SIZE, SIZE, 3)).astype(np.uint8)
    images[:, 0] += (speed * 200).astype(np.uint8)[:, None, None, None]
    change = np.where(told == 1, -1, 1) * (speed + 0.2) * 1e-3
    steps = np.repeat(change[:, None, None], HORIZON, 1).repeat(JOINTS, 2).astype(np.float32)
    grounding = np.full((count, GROUNDING), np.nan, np.float32)
    if grounded:
        grounding[:] = (speed[:, None] - 0.5) * np.array([0.05, 0.01, -0.01, 0.1, 0.1])
    return Demonstrations(
        images=images,
        position=rng.normal(size=(count, JOINTS)).astype(np.float32),
        velocity=rng.normal(size=(count, JOINTS)).astype(np.float32),
        steps=steps,
        valid=np.ones((count, HORIZON), dtype=bool),
        critical=np.ones(count, dtype=bool),
        grounding=grounding,
        episode=(np.arange(count) // 10).astype(np.int32),
        instruction=told,
        tasks=dict(zip(("push", "pull"), WORDS, strict=True)),
        ticks=np.full(count // 10, 10, np.int32),
    )


@pytest.fixture(scope="module")
def trained() -> Stage1:
    torch.set_num_threads(1)
    stage = Stage1(demonstrations(1200), AdaptConfig(eyes=150, steps=150, token_steps=150, batch=32), MODEL)
    while stage.step < stage.config.total:
        stage.train_step()
    return stage


def test_pictures_and_instruction_are_learnt(trained: Stage1) -> None:
    untrained = Stage1(trained.demos, trained.config, MODEL)
    assert trained.held_out_loss() < 0.2 * untrained.held_out_loss()


def test_the_summary_proves_the_token(trained: Stage1) -> None:
    summary = summarise(trained)
    probe, readout = summary["token_probe"], summary["token_readout_mm"]
    assert probe["shuffled"] > 1.2 * probe["true"]
    assert probe["zero"] > 1.5 * probe["true"]
    assert readout["token"] < 0.5 * readout["spread"]
    assert readout["mlp"] < 0.5 * readout["spread"]
    assert set(readout) == {"token", "mlp", "embeddings", "random_encoder", "spread"}


def test_without_ground_truth_there_is_a_token_but_no_readout() -> None:
    stage = Stage1(demonstrations(grounded=False), AdaptConfig(eyes=1, steps=2, token_steps=1, batch=8), MODEL)
    while stage.step < stage.config.total:
        stage.train_step()
    assert "token_readout_mm" not in summarise(stage)
    assert stage.running["grounding"] == 0.0


def test_onnx_agrees_with_torch_for_every_instruction(trained: Stage1, tmp_path: Path) -> None:
    bundle = export(
        trained,
        tmp_path / "bundle",
        {"note": 1},
        name="tiny",
        version="1",
        robot="r",
        cameras=("a", "b"),
        joints=("x", "y", "z"),
        period=0.02,
    )
    assert bundle.tasks == {"push": "push it", "pull": "pull it"}
    assert bundle.instruction("pull") == "pull it"
    assert bundle.instruction("unheard of") == "push it"
    scales = trained.normaliser
    served = ServedVLA(
        trained.vla,
        trained.token.encoder,
        *(torch.from_numpy(x.copy()) for x in (scales.proprio_mean[:3], scales.proprio_std[:3], scales.action_std)),
    ).eval()
    rng = np.random.default_rng(1)
    backend = LoadedVla(bundle)
    for words in WORDS:
        backend.set_instruction(words)
        images = rng.integers(0, 255, (2, SIZE, SIZE, 3), dtype=np.uint8)
        position = rng.normal(size=JOINTS).astype(np.float32)
        with torch.no_grad():
            token, reference = served(
                torch.from_numpy(images), torch.from_numpy(position), torch.from_numpy(encode_instruction(words))
            )
        result = backend.infer(images, position)
        assert np.allclose(result.token, token.numpy(), atol=1e-4)
        assert np.allclose(result.reference, reference.numpy(), atol=1e-4)


def test_a_resumed_training_is_the_same_training(tmp_path: Path) -> None:
    """Stopped in the middle, also of the token's own part, and continued: bit for bit as if never stopped."""
    torch.set_num_threads(1)
    config = AdaptConfig(eyes=4, steps=5, token_steps=3, batch=8, eyes_batch=8)

    def run(stage: Stage1, until: int) -> Stage1:
        while stage.step < until:
            stage.train_step()
        return stage

    whole = run(Stage1(demonstrations(), config, MODEL), 12)
    for pause in (2, 4, 6, 10):
        run(Stage1(demonstrations(), config, MODEL), pause).save(tmp_path / "t")
        again = Stage1(demonstrations(), config, MODEL)
        again.restore(tmp_path / "t")
        assert again.step == pause
        run(again, 12)
        for part in ("vla", "token"):
            for name, value in getattr(whole, part).state_dict().items():
                assert torch.equal(value, getattr(again, part).state_dict()[name]), name


def test_the_token_is_trained_alone_at_the_end() -> None:
    stage = Stage1(demonstrations(), AdaptConfig(eyes=0, steps=2, token_steps=2, batch=8), MODEL)
    for _ in range(2):
        stage.train_step()
    vla = {name: value.clone() for name, value in stage.vla.state_dict().items()}
    token = {name: value.clone() for name, value in stage.token.state_dict().items()}
    for _ in range(2):
        stage.train_step()
    assert all(torch.equal(value, vla[name]) for name, value in stage.vla.state_dict().items())
    assert not all(torch.equal(value, token[name]) for name, value in stage.token.state_dict().items())


def test_another_training_is_not_resumed(tmp_path: Path) -> None:
    Stage1(demonstrations(), AdaptConfig(steps=3), MODEL).save(tmp_path / "t")
    with pytest.raises(ValueError, match="config is"):
        Stage1(demonstrations(), AdaptConfig(steps=4), MODEL).restore(tmp_path / "t")
    with pytest.raises(ValueError, match="demonstrations is"):
        Stage1(demonstrations(250), AdaptConfig(steps=3), MODEL).restore(tmp_path / "t")
    (tmp_path / "t").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="no saved training"):
        Stage1(demonstrations(), AdaptConfig(steps=3), MODEL).restore(tmp_path / "t")


def test_one_demonstration_is_too_few() -> None:
    with pytest.raises(ValueError, match="too few"):
        Stage1(demonstrations(10), AdaptConfig(steps=1), MODEL)


def test_the_action_scale_is_that_of_the_critical_phase() -> None:
    """Fast transport must not blunt the insertion; a gripper that only moves on the way keeps a usable scale."""
    demos = demonstrations()
    demos.critical[:] = np.arange(len(demos.critical)) % 2 == 0
    demos.steps[~demos.critical] *= 50
    demos.steps[demos.critical, :, 2] = 0.0
    scale = demos.normaliser.action_std
    assert scale[0] == pytest.approx(demos.steps[demos.critical, 0, 0].std(), rel=1e-5)
    assert scale[2] > 10 * scale[0]


def test_an_instruction_without_words_is_refused_and_words_count() -> None:
    with pytest.raises(ValueError, match="no word"):
        encode_instruction(" ... ")
    assert not np.array_equal(encode_instruction("insert the plug"), encode_instruction("insert the charger"))


@pytest.mark.parametrize("width", [128, 64, 10])
def test_written_in_waves_a_place_has_always_the_same_length_and_is_told_from_its_neighbours(width: int) -> None:
    places = torch.zeros(41, 5)
    places[:, 1] = torch.linspace(-5, 5, 41)
    written = waves(places, width)
    assert written.shape == (41, width)
    lengths = written.norm(dim=1)
    torch.testing.assert_close(lengths, lengths[:1].expand(41))
    apart = torch.cdist(written, written) + 1e3 * torch.eye(41)
    assert apart.min() > 0.2
