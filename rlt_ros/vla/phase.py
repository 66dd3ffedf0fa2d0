"""The phase head: has the hard part begun? A linear layer on the RL token, trained from begin-critical marks.

The paper's last step (section 5.4) lets the model itself choose where RL takes over; how it does is not disclosed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from rlt_ros.types import Array32, Episode
from rlt_ros.vla.bundle import Bundle, BundleError

PHASE_FILE = "phase.safetensors"
_RIDGE = 1e-3
_NEWTON_STEPS = 30
PASSES = 3
"""Observations in a row that must say so; as `session_node.handover_passes`."""


@dataclass(frozen=True)
class PhaseHead:
    """A logistic regression on the token.

    Attributes:
        weight: shape (D,).
        bias: of it.
        report: how it does on episodes that it was not trained on, and on what it was trained.
    """

    weight: Array32
    bias: float
    report: dict[str, Any]

    def __call__(self, token: Array32) -> float:
        """Probability that the hard part has begun, by a token of shape (D,)."""
        return float(_sigmoid(np.asarray(token @ self.weight + self.bias)))


@dataclass(frozen=True)
class Marks:
    """One episode as the head sees it.

    Attributes:
        tokens: one for each observation, shape (N, D).
        critical: whether the operator had marked the hard part by then, shape (N,).
        interval: seconds between observations.
    """

    tokens: Array32
    critical: NDArray[np.bool_]
    interval: float


def mark(episode: Episode, infer: Callable[[NDArray[np.uint8], NDArray[Any]], Array32], period: float) -> Marks:
    """Tokens of an episode's observations.

    Args:
        episode: with its pictures.
        infer: pictures and joint positions -> token; the VLA must have been told the episode's instruction.
        period: seconds between ticks.
    """
    tokens = [
        infer(images, episode.position[tick]) for images, tick in zip(episode.images, episode.image_ticks, strict=True)
    ]
    interval = float(np.diff(episode.image_ticks).mean()) * period if len(episode.image_ticks) > 1 else period
    return Marks(np.array(tokens, dtype=np.float32), episode.critical[episode.image_ticks], interval)


def train_phase_head(marks: list[Marks], *, held_out: float = 0.25, seed: int = 0) -> PhaseHead:
    """Fit on some episodes, report on the others.

    Args:
        marks: of whole episodes: the approach and the hard part. One that never came so far is all approach; one that
            began with the hard part says nothing and is left out.
        held_out: share of the episodes that are kept for the report.
        seed: which ones.

    Raises:
        ValueError: too few episodes hold both phases.
    """
    both = [m for m in marks if m.critical.any() and not m.critical.all()]
    unmarked = [m for m in marks if not m.critical.any()]
    if len(both) < 4:
        raise ValueError(
            f"{len(both)} of {len(marks)} episodes hold both the approach and the hard part: record at least 4 in "
            "which somebody marked where it begins (session_node.controlled: false, begin_critical)"
        )
    rng = np.random.default_rng(seed)
    train, test = [], []
    for kind in (both, unmarked):
        order = rng.permutation(len(kind))
        count = round(held_out * len(kind)) if kind is unmarked else max(1, round(held_out * len(kind)))
        test += [kind[i] for i in order[:count]]
        train += [kind[i] for i in order[count:]]
    tokens = np.concatenate([m.tokens for m in train]).astype(np.float64)
    critical = np.concatenate([m.critical for m in train])
    weight, bias = _fit(tokens, critical)
    head = PhaseHead(weight.astype(np.float32), float(bias), {})
    report = {"episodes": len(train), "episodes_held_out": len(test), **_report(head, test)}
    return PhaseHead(head.weight, head.bias, report)


def save_phase_head(bundle: Bundle, head: PhaseHead) -> Path:
    """Write it into the bundle's directory, for this bundle's tokens only."""
    path = bundle.directory / PHASE_FILE
    fresh = path.with_suffix(".new")
    save_file(
        {"weight": head.weight, "bias": np.array([head.bias], dtype=np.float32)},
        fresh,
        {"bundle_id": bundle.id, "report": json.dumps(head.report)},
    )
    fresh.rename(path)
    return path


def load_phase_head(bundle: Bundle) -> PhaseHead | None:
    """The bundle's phase head, if it has one.

    Raises:
        BundleError: it is damaged, or was made for another bundle.
    """
    path = bundle.directory / PHASE_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            weight, bias = file.get_tensor("weight"), file.get_tensor("bias")
        report = json.loads(metadata["report"])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise BundleError(f"{path} is damaged ({error}): make it anew with 'rlt adapt phase', or remove it") from error
    if metadata.get("bundle_id") != bundle.id or weight.shape != (bundle.token_dim,):
        raise BundleError(
            f"{path} was made for {metadata.get('bundle_id')}, this bundle is {bundle.id}: make it anew with "
            "'rlt adapt phase', or remove it"
        )
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise BundleError(f"{path} is not finite: make it anew with 'rlt adapt phase', or remove it")
    return PhaseHead(weight, float(bias[0]), report)


def _fit(tokens: NDArray[np.float64], critical: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Ridge logistic regression by Newton's method; both phases weigh the same."""
    mean, scale = tokens.mean(0), tokens.std(0) + 1e-6
    x = np.column_stack([(tokens - mean) / scale, np.ones(len(tokens))])
    share = critical.mean()
    each = np.where(critical, 0.5 / share, 0.5 / (1 - share)) / len(x)
    ridge = _RIDGE * np.eye(x.shape[1])
    ridge[-1, -1] = 1e-9
    w = np.zeros(x.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = _sigmoid(x @ w)
        gradient = x.T @ (each * (p - critical)) + ridge @ w
        hessian = (x * (each * p * (1 - p))[:, None]).T @ x + ridge
        step = np.linalg.solve(hessian, gradient)
        w -= step
        if np.abs(step).max() < 1e-8:
            break
    weight = w[:-1] / scale
    return weight, float(w[-1] - weight @ mean)


def _report(head: PhaseHead, marks: Iterable[Marks]) -> dict[str, Any]:
    right, counts, errors, never, unmarked = np.zeros(2), np.zeros(2), [], 0, []
    for m in marks:
        says = _sigmoid(m.tokens @ head.weight + head.bias) >= 0.5
        for phase in (0, 1):
            of_phase = m.critical == phase
            right[phase] += (says[of_phase] == phase).sum()
            counts[phase] += of_phase.sum()
        runs = np.convolve(says, np.ones(PASSES), "valid") == PASSES
        if not m.critical.any():
            unmarked.append(bool(runs.any()))
        elif runs.any():
            errors.append((int(np.argmax(runs)) + PASSES - 1 - int(np.argmax(m.critical))) * m.interval)
        else:
            never += 1
    report: dict[str, Any] = {
        "accuracy": round(float(right.sum() / counts.sum()), 4),
        "accuracy_approach": round(float(right[0] / counts[0]), 4),
        "accuracy_critical": round(float(right[1] / counts[1]), 4),
        "never_switched": never,
    }
    if unmarked:
        report["switched_without_mark"] = f"{sum(unmarked)} of {len(unmarked)}"
    if errors:
        report["switch_error_s_median"] = round(float(np.median(errors)), 3)
        report["switch_error_s_p90"] = round(float(np.percentile(np.abs(errors), 90)), 3)
        report["switched_within_half_a_second"] = round(float(np.mean(np.abs(errors) <= 0.5)), 3)
    return report


def _sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -50, 50))))
