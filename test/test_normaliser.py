"""One normaliser, and back again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import JOINTS, normaliser

from rlt_ros.normaliser import Normaliser


@given(st.integers(1, 20), st.integers(0, 1000))
def test_targets_invert_actions(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale = normaliser()
    previous = rng.uniform(-1, 1, JOINTS)
    targets = previous + np.cumsum(rng.normal(0, 1e-3, (rows, JOINTS)), axis=0)
    assert np.allclose(scale.targets(scale.actions(targets, previous), previous), targets, atol=1e-7)


def test_the_first_action_counts_from_the_last_command() -> None:
    actions = normaliser(1e-3).actions(np.array([[0.002] * JOINTS, [0.003] * JOINTS]), np.full(JOINTS, 0.001))
    assert np.allclose(actions, 1.0)


def test_survives_json() -> None:
    made = Normaliser(np.linspace(-1, 1, 2 * JOINTS), np.linspace(0.1, 2, 2 * JOINTS), np.full(JOINTS, 4.2e-4))
    again = Normaliser.from_dict(made.to_dict())
    assert np.allclose(again.proprio_mean, made.proprio_mean, rtol=1e-6)
    assert np.allclose(again.action_std, made.action_std, rtol=1e-6)


@pytest.mark.parametrize(
    "broken",
    [
        {"action_std": np.zeros(JOINTS)},
        {"action_std": np.full(JOINTS, np.nan)},
        {"proprio_std": np.ones(JOINTS)},
        {"proprio_mean": np.full(2 * JOINTS, np.inf)},
    ],
)
def test_a_scale_that_would_give_nonsense_is_refused(broken: dict[str, np.ndarray]) -> None:
    good = {"proprio_mean": np.zeros(2 * JOINTS), "proprio_std": np.ones(2 * JOINTS), "action_std": np.ones(JOINTS)}
    with pytest.raises(ValueError, match="normaliser"):
        Normaliser(**{**good, **broken})


def test_the_same_motion_is_the_same_number_of_action_units_a_second() -> None:
    here = normaliser(1e-3)
    slow = here.at(0.04)
    assert slow.period == 0.04
    assert np.allclose(slow.action_std, 2e-3)
    assert here.at(here.period) is here
    assert slow.at(here.period).action_std == pytest.approx(here.action_std)
    assert np.array_equal(slow.proprio_std, here.proprio_std)
    with pytest.raises(ValueError, match="period of its actions is not known"):
        Normaliser(np.zeros(2 * JOINTS), np.ones(2 * JOINTS), np.ones(JOINTS)).at(0.02)
