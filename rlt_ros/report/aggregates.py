"""Figures over tasks and seeds, by the recipe of rliable (Agarwal et al., 2021, arXiv 2108.13264).

Scores are of shape (seeds, tasks). rliable itself is not used: its last release is of 2024, it asks for an `arch` below
8 and brings statsmodels, pandas and seaborn. The trimmed mean is scipy's; the rest is a few lines each, held to
published values by tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

Array = NDArray[np.float64]
RESAMPLES = 2000


def iqm(scores: Array) -> float:
    """Interquartile mean over the last two axes, seeds and tasks: the middle half of all runs."""
    return float(trim_mean(scores.reshape(-1), 0.25))


def interval(
    scores: Sequence[Array], statistic: Callable[..., float], resamples: int = RESAMPLES, seed: int = 0
) -> list[float]:
    """95 % percentiles of a stratified bootstrap: of every task as many seeds are drawn as there are.

    Args:
        scores: what `statistic` takes, each of shape (seeds, tasks).
        statistic: of the scores.
        resamples: draws.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    drawn = [statistic(*(_resampled(of_one, rng) for of_one in scores)) for _ in range(resamples)]
    return [float(value) for value in np.percentile(drawn, [2.5, 97.5])]


def _resampled(scores: Array, rng: np.random.Generator) -> Array:
    which = rng.integers(0, len(scores), scores.shape)
    return np.take_along_axis(scores, which, 0)


def probability_of_improvement(ours: Array, theirs: Array) -> float:
    """Probability that a run of ours beats one of theirs on a task drawn by chance; a draw counts half.

    Args:
        ours: shape (seeds, tasks).
        theirs: shape (other seeds, the same tasks).
    """
    difference = ours[:, None] - theirs[None]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))
