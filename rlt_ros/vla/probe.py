"""Proof that the RL token carries the state: what can be rebuilt and read out from it on held-out episodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlt_ros.rl.rl_token import TokenEncoder

if TYPE_CHECKING:
    from rlt_ros.vla.adapt import Stage1

_SAMPLES = 3000
_BATCH = 128
_NEAR = 0.07
"""Metres between tip and mouth below which the offset matters."""
Array = NDArray[np.float64]


@torch.no_grad()
def probe(stage: Stage1) -> dict[str, Any]:
    """Figures of the bundle: losses and read-out on held-out episodes.

    `token_probe` is the reconstruction loss with the true token, that of another moment of the same task, and zeros.
    `token_readout_mm` is the root mean square error of the lateral offset of plug and socket (length of the error
    in y and z) in a ridge regression from the token, from all raw embeddings and from an untrained encoder's token,
    fitted on training episodes; `spread` is that of guessing the mean. Absent where the demonstrations do not know
    the offset.
    """
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    held = rng.permutation(stage.held_out)
    _, losses = _embed(stage, held[:_SAMPLES])
    out: dict[str, Any] = {"loss_held_out": float(np.mean(losses)), "token_probe": _reconstruction(stage, held)}
    grounding = stage.demos.grounding
    near = np.isfinite(grounding).all(1) & (np.abs(grounding[:, 0]) < _NEAR)
    fit, test = (rng.permutation(part[near[part]])[:_SAMPLES] for part in (stage.training, stage.held_out))
    if min(len(fit), len(test)) < 100:
        return out
    stranger = TokenEncoder(stage.model.width, stage.model.embeddings, stage.model.token_dim).to(stage.device)
    features: dict[str, list[Array]] = {"token": [], "embeddings": [], "random_encoder": []}
    for part in (fit, test):
        z, _ = _embed(stage, part)
        features["token"].append(_encode(stage.token.encoder, z))
        features["embeddings"].append(z.flatten(1).cpu().numpy().astype(np.float64))
        features["random_encoder"].append(_encode(stranger, z))
    target, truth = (1e3 * grounding[part, 1:3].astype(np.float64) for part in (fit, test))
    out["token_readout_mm"] = {name: _readout(*both, target, truth) for name, both in features.items()}
    out["token_readout_mm"]["spread"] = _rms(truth - target.mean(0))
    return out


def _reconstruction(stage: Stage1, held: NDArray[np.int64]) -> dict[str, float]:
    """Mean of the tasks' probes: a token shuffled among moments of one task's critical phase is no easy prey."""
    told = stage.demos.instruction[held]
    probes = []
    for task in range(len(stage.demos.tasks)):
        part = held[(told == task) & stage.demos.critical[held]][:1024]
        if len(part) > 1:
            probes.append(stage.token.probe(_embed(stage, part)[0], stage.config.context_dropout))
    return {name: float(np.mean([probe[name] for probe in probes])) for name in ("true", "shuffled", "zero")}


def _embed(stage: Stage1, index: NDArray[np.int64]) -> tuple[torch.Tensor, list[float]]:
    zs, losses = [], []
    for start in range(0, len(index), _BATCH):
        part = index[start : start + _BATCH]
        z, actions = stage.forward(part)
        zs.append(z)
        losses.append(float(stage.vla_loss(part, actions)))
    return torch.cat(zs), losses


def _encode(encoder: TokenEncoder, z: torch.Tensor) -> Array:
    return torch.cat([encoder(part) for part in z.split(_BATCH)]).cpu().numpy().astype(np.float64)


def _readout(fit: Array, test: Array, target: Array, truth: Array) -> float:
    """Error of a ridge regression whose strength is chosen on a fifth of the data it is fitted to."""
    mean, scale = fit.mean(0), fit.std(0) + 1e-6
    fit, test = (fit - mean) / scale, (test - mean) / scale
    cut = len(fit) * 4 // 5
    errors = {
        strength: _rms(target[cut:] - _ridge(fit[:cut], target[:cut], strength, fit[cut:]))
        for strength in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    }
    best = min(errors, key=lambda strength: errors[strength])
    return _rms(truth - _ridge(fit, target, best, test))


def _ridge(x: Array, y: Array, strength: float, at: Array) -> Array:
    """Prediction at `at`; solved in whichever of samples and features there are fewer."""
    mean = y.mean(0)
    weight = strength * len(x)
    if x.shape[1] <= len(x):
        solution = np.linalg.solve(x.T @ x + weight * np.eye(x.shape[1]), x.T @ (y - mean))
    else:
        solution = x.T @ np.linalg.solve(x @ x.T + weight * np.eye(len(x)), y - mean)
    return np.asarray(at @ solution + mean)


def _rms(error: Array) -> float:
    return float(np.sqrt((error**2).sum(1).mean()))
