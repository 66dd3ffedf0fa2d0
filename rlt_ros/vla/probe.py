"""Proof that the RL token carries the state: what can be rebuilt and read out from it on held-out episodes."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rlt_ros.rl.rl_token import RLToken, TokenEncoder
from rlt_ros.vla.demos import Demonstrations

_SAMPLES = 3000
_BATCH = 128
_EPOCHS = 60
NEAR = 0.07
"""Metres between tip and mouth below which the offset matters."""
Array = NDArray[np.float64]


class Trained(Protocol):
    """What is proved: a token and the demonstrations that it was trained on.

    Attributes:
        token: encoder and decoder.
        demos: the demonstrations; their pictures are not looked at.
        training: observations that were learnt from.
        held_out: those that were not.
        context_dropout: share of the teacher-forced embeddings that was hidden in training.
    """

    token: RLToken
    demos: Demonstrations
    training: NDArray[np.int64]
    held_out: NDArray[np.int64]

    @property
    def context_dropout(self) -> float:
        """See above."""

    def embed(self, index: NDArray[np.int64]) -> Tensor:
        """Embeddings of some observations as the token's encoder takes them, shape (N, L, W)."""


@torch.no_grad()
def probe(trained: Trained) -> dict[str, Any]:
    """Figures of the bundle: reconstruction and read-out on held-out episodes.

    `token_probe` is the reconstruction loss with the true token, that of another moment of the same task, and zeros.
    `token_readout_mm` is the root mean square error of the lateral offset of plug and socket (length of the error
    in y and z) in a ridge regression from the token, from all raw embeddings and from an untrained encoder's token,
    fitted on training episodes; `mlp` that of a small perceptron from the token, which is what an actor can read;
    `spread` is that of guessing the mean. Absent where the demonstrations do not know the offset.
    """
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    held = rng.permutation(trained.held_out)
    out: dict[str, Any] = {"token_probe": _reconstruction(trained, held)}
    grounding = trained.demos.grounding
    near = np.isfinite(grounding).all(1) & (np.abs(grounding[:, 0]) < NEAR)
    fit, test = (rng.permutation(part[near[part]])[:_SAMPLES] for part in (trained.training, trained.held_out))
    if min(len(fit), len(test)) < 100:
        return out
    encoder = trained.token.encoder
    (_, length, width), token_dim = encoder.positions.shape, encoder.project.out_features
    stranger = TokenEncoder(width, length - 1, token_dim, heads=encoder.heads).to(encoder.positions.device)
    features: dict[str, list[Array]] = {"token": [], "embeddings": [], "random_encoder": []}
    for part in (fit, test):
        z = _embed(trained, part)
        features["token"].append(_encode(encoder, z))
        features["embeddings"].append(z.flatten(1).cpu().numpy().astype(np.float64))
        features["random_encoder"].append(_encode(stranger, z))
    target, truth = (1e3 * grounding[part, 1:3].astype(np.float64) for part in (fit, test))
    out["token_readout_mm"] = {name: rms(truth - ridge_readout(*both, target)) for name, both in features.items()}
    out["token_readout_mm"]["mlp"] = rms(truth - mlp_readout(*features["token"], target))
    out["token_readout_mm"]["spread"] = rms(truth - target.mean(0))
    return out


def _reconstruction(trained: Trained, held: NDArray[np.int64]) -> dict[str, float]:
    """Mean of the tasks' probes: a token shuffled among moments of one task's critical phase is no easy prey."""
    told = trained.demos.instruction[held]
    probes = []
    for task in range(len(trained.demos.tasks)):
        part = held[(told == task) & trained.demos.critical[held]][:1024]
        if len(part) > 1:
            probes.append(trained.token.probe(_embed(trained, part), trained.context_dropout))
    return {name: float(np.mean([probe[name] for probe in probes])) for name in ("true", "shuffled", "zero")}


def _embed(trained: Trained, index: NDArray[np.int64]) -> Tensor:
    return torch.cat([trained.embed(index[start : start + _BATCH]) for start in range(0, len(index), _BATCH)])


def _encode(encoder: TokenEncoder, z: torch.Tensor) -> Array:
    return torch.cat([encoder(part) for part in z.split(_BATCH)]).cpu().numpy().astype(np.float64)


def ridge_readout(fit: Array, test: Array, target: Array) -> Array:
    """What a ridge regression says of `test`; its strength is chosen on a fifth of the data it is fitted to.

    Args:
        fit: features to fit it to, shape (N, F).
        test: features to read, shape (T, F).
        target: what is to be read from `fit`, shape (N, D).

    Returns:
        Shape (T, D).
    """
    mean, scale = fit.mean(0), fit.std(0) + 1e-6
    fit, test = (fit - mean) / scale, (test - mean) / scale
    cut = len(fit) * 4 // 5
    errors = {
        strength: rms(target[cut:] - _ridge(fit[:cut], target[:cut], strength, fit[cut:]))
        for strength in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    }
    best = min(errors, key=lambda strength: errors[strength])
    return _ridge(fit, target, best, test)


@torch.enable_grad()  # type: ignore[untyped-decorator]
def mlp_readout(fit: Array, test: Array, target: Array) -> Array:
    """What a perceptron says of `test`, taken from when a fifth of the data it is not fitted to was told best.

    See `ridge_readout`.
    """
    mean, scale = fit.mean(0), fit.std(0) + 1e-6
    middle, spread = target.mean(0), target.std(0)
    x, at = (torch.from_numpy((part - mean) / scale).float() for part in (fit, test))
    y = torch.from_numpy((target - middle) / spread).float()
    cut = len(x) * 4 // 5
    net = nn.Sequential(
        nn.Linear(x.shape[1], 256),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, y.shape[1]),
    )
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
    best, said = np.inf, at
    for epoch in range(_EPOCHS):
        net.train()
        for part in torch.randperm(cut).split(_BATCH):
            optimiser.zero_grad(set_to_none=True)
            functional.mse_loss(net(x[part]), y[part]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        net.eval()
        if epoch % 4 == 3:
            with torch.no_grad():
                error = float(functional.mse_loss(net(x[cut:]), y[cut:]))
                if error < best:
                    best, said = error, net(at)
    return np.asarray(said.numpy() * spread + middle, np.float64)


def _ridge(x: Array, y: Array, strength: float, at: Array) -> Array:
    """Prediction at `at`; solved in whichever of samples and features there are fewer."""
    mean = y.mean(0)
    weight = strength * len(x)
    if x.shape[1] <= len(x):
        solution = np.linalg.solve(x.T @ x + weight * np.eye(x.shape[1]), x.T @ (y - mean))
    else:
        solution = x.T @ np.linalg.solve(x @ x.T + weight * np.eye(len(x)), y - mean)
    return np.asarray(at @ solution + mean)


def rms(error: Array) -> float:
    """Root mean square length of the rows."""
    return float(np.sqrt((error**2).sum(1).mean()))
