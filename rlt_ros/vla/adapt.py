"""Stage 1: train the small VLA and the RL token on demonstrations, and export the bundle.

The loss is the paper's `L_ro + alpha * L_vla`, where `L_vla` is the regression of the reference chunk and the
gradient of `L_ro` stops at the embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rlt_ros.normaliser import MIN_ACTION_STD, Normaliser
from rlt_ros.rl.rl_token import RLToken
from rlt_ros.vla.bundle import MODEL_FILE, Bundle, file_sha256
from rlt_ros.vla.demos import Demonstrations
from rlt_ros.vla.instruction import encode_instruction
from rlt_ros.vla.small import ServedVLA, SmallVLA, SmallVLAConfig


@dataclass(frozen=True)
class AdaptConfig:
    """How stage 1 is trained.

    Attributes:
        steps: gradient steps.
        batch: observations a step.
        token_batch: of these, observations used for the token's loss.
        learning_rate: peak of a cosine schedule with warm-up.
        weight_decay: AdamW's.
        alpha: weight of `L_vla` against `L_ro`.
        context_dropout: share of teacher-forced embeddings hidden from the token's decoder.
        held_out: share of the episodes kept for the probe and the validation loss.
        seed: of weights and batches.
    """

    steps: int = 4000
    batch: int = 64
    token_batch: int = 16
    learning_rate: float = 8e-4
    weight_decay: float = 1e-3
    alpha: float = 1.0
    context_dropout: float = 0.9
    held_out: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class Adapted:
    """Result of stage 1."""

    vla: SmallVLA
    token: RLToken
    normaliser: Normaliser
    summary: dict[str, Any]


def fit_normaliser(demos: Demonstrations) -> Normaliser:
    """Scales of the demonstrations."""
    proprio = np.concatenate([demos.position, demos.velocity], axis=1)
    first = demos.steps[:, 0]
    return Normaliser(
        proprio_mean=proprio.mean(0),
        proprio_std=np.maximum(proprio.std(0), 1e-3),
        action_std=np.maximum(first.std(0), MIN_ACTION_STD),
    )


def adapt(
    demos: Demonstrations,
    instruction: str,
    config: AdaptConfig,
    model: SmallVLAConfig | None = None,
    progress: Callable[[int, dict[str, float]], None] = lambda _step, _losses: None,
) -> Adapted:
    """Train on demonstrations of one task.

    Args:
        demos: from `collect`.
        instruction: what the model is told.
        config: how to train.
        model: sizes; default for this many joints and pixels.
        progress: called every 50 steps with the step and running losses.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    joints, horizon = demos.steps.shape[2], demos.steps.shape[1]
    model = model or SmallVLAConfig(
        cameras=demos.images.shape[1], image_size=demos.images.shape[2], joints=joints, horizon=horizon
    )
    normaliser = fit_normaliser(demos)
    vla = SmallVLA(model)
    token = RLToken(model.width, model.embeddings, model.token_dim)
    parameters = [*vla.parameters(), *token.parameters()]
    optimiser = torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
    )

    def schedule(step: int) -> float:
        warm = min(1.0, (step + 1) / 200)
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, schedule)
    train, held_out = _split(demos.episode, config, rng)
    words = torch.from_numpy(encode_instruction(instruction))
    running: dict[str, float] = {}
    for step in range(config.steps):
        batch = rng.choice(train, config.batch)
        loss_vla, z = _vla_loss(vla, demos, normaliser, words, batch)
        loss_token = token.loss(z[: config.token_batch], config.context_dropout)
        optimiser.zero_grad(set_to_none=True)
        (loss_token + config.alpha * loss_vla).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        scheduler.step()
        for name, value in (("vla", float(loss_vla.detach())), ("token", float(loss_token.detach()))):
            running[name] = value if name not in running else 0.98 * running[name] + 0.02 * value
        if (step + 1) % 50 == 0:
            progress(step + 1, running)
    summary = {
        "config": asdict(config),
        "episodes": len(demos.ticks),
        "expert_success": float((demos.ticks > 0).mean()),
        "expert_median_ticks": float(np.median(demos.ticks[demos.ticks > 0])),
        "observations": len(demos.episode),
        "loss_train": running,
        **evaluate(vla, token, demos, normaliser, words, held_out),
    }
    return Adapted(vla, token, normaliser, summary)


def _split(
    episode: np.ndarray[Any, Any], config: AdaptConfig, rng: np.random.Generator
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    episodes = rng.permutation(np.unique(episode))
    count = max(1, round(config.held_out * len(episodes)))
    if count >= len(episodes):
        raise ValueError(f"{len(episodes)} successful demonstrations are too few: at least 2 are needed")
    held = np.isin(episode, episodes[:count])
    return np.flatnonzero(~held), np.flatnonzero(held)


def _vla_loss(
    vla: SmallVLA, demos: Demonstrations, normaliser: Normaliser, words: Tensor, index: np.ndarray[Any, Any]
) -> tuple[Tensor, Tensor]:
    """Masked smooth L1 of the normalised reference rows, and the embeddings."""
    joints = demos.position.shape[1]
    position = (demos.position[index] - normaliser.proprio_mean[:joints]) / normaliser.proprio_std[:joints]
    z, actions = vla(torch.from_numpy(demos.images[index]), torch.from_numpy(position), words.expand(len(index), -1))
    target = torch.from_numpy(demos.steps[index] / normaliser.action_std)
    valid = torch.from_numpy(demos.valid[index])[..., None].expand_as(target)
    return functional.smooth_l1_loss(actions[valid], target[valid]), z


@torch.no_grad()
def evaluate(
    vla: SmallVLA,
    token: RLToken,
    demos: Demonstrations,
    normaliser: Normaliser,
    words: Tensor,
    held_out: np.ndarray[Any, Any],
) -> dict[str, Any]:
    """Validation loss and the token's probe, on held-out episodes."""
    losses, zs = [], []
    for start in range(0, len(held_out), 128):
        loss, z = _vla_loss(vla, demos, normaliser, words, held_out[start : start + 128])
        losses.append(float(loss))
        zs.append(z)
    z = torch.cat(zs)
    return {"loss_held_out": float(np.mean(losses)), "token_probe": token.probe(z[torch.randperm(len(z))[:512]])}


def export(adapted: Adapted, directory: Path, **description: Any) -> Bundle:
    """Write the bundle: one ONNX file in physical units, and its description.

    Args:
        adapted: the trained model.
        directory: created if absent.
        description: the fields of `Bundle` that training does not know: name, version, robot, cameras, joints,
            period, instruction, tasks.
    """
    directory.mkdir(parents=True, exist_ok=True)
    model, joints = adapted.vla.config, adapted.vla.config.joints
    served = ServedVLA(
        adapted.vla,
        adapted.token.encoder,
        torch.from_numpy(adapted.normaliser.proprio_mean[:joints].copy()),
        torch.from_numpy(adapted.normaliser.proprio_std[:joints].copy()),
        torch.from_numpy(adapted.normaliser.action_std.copy()),
    ).eval()
    example = (
        torch.zeros(model.cameras, model.image_size, model.image_size, 3, dtype=torch.uint8),
        torch.zeros(joints),
        torch.from_numpy(encode_instruction(description["instruction"])),
    )
    path = directory / MODEL_FILE
    torch.onnx.export(
        served,
        example,
        path,
        input_names=["images", "position", "instruction"],
        output_names=["token", "reference"],
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    _strip(path)
    bundle = Bundle(
        directory=directory,
        image_size=model.image_size,
        horizon=model.horizon,
        token_dim=model.token_dim,
        normaliser=adapted.normaliser,
        sha256=file_sha256(path),
        training=adapted.summary,
        **description,
    )
    bundle.save()
    return bundle


def _strip(path: Path) -> None:
    """Drop what the exporter notes down for debugging: source lines and paths of this machine."""
    import onnx  # only exporting needs it

    model = onnx.load(path)
    for item in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        model.graph,
        model,
    ):
        del item.metadata_props[:]
        item.doc_string = ""
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ""
    onnx.save(model, path)
