"""What the policy in numpy flies and chooses, and broken weights are refused by name."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save
from support import BUNDLE, JOINTS, TOKEN, actor, weights

from rlt_ros.control.actor import OWN, SPEEDS, Actor, ActorSpec, Weights, WeightsError, pack_actor, unpack_actor
from rlt_ros.normaliser import Normaliser

SPEC = ActorSpec(BUNDLE, TOKEN, JOINTS, 10)
CHOOSES = dataclasses.replace(SPEC, speeds=SPEEDS, selects=True)


def inputs(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=TOKEN).astype(np.float32),
        rng.normal(size=2 * JOINTS).astype(np.float32),
        rng.normal(size=(10, JOINTS)).astype(np.float32),
    )


def test_what_an_actor_changes_is_along_its_directions() -> None:
    rng = np.random.default_rng(0)
    basis = (np.linalg.qr(rng.normal(size=(10 * JOINTS, 2)))[0].T * [[3.0], [0.5]]).astype(np.float32)
    layer = (rng.normal(size=(TOKEN + 2 * JOINTS + 2, 2)).astype(np.float32), np.ones(2, np.float32))
    flown = Actor(dataclasses.replace(SPEC, noise=0.5), Weights(basis, [layer]), 7)
    token, proprio, reference = inputs(1)
    inverse = np.linalg.pinv(basis)
    seen = np.concatenate([token, proprio, reference.ravel() @ inverse])
    wanted = reference.ravel() + (seen @ layer[0] + 1) @ basis
    assert np.allclose(flown(token, proprio, reference).ravel(), wanted, atol=1e-4)
    noise = np.array([flown.exploration(np.random.default_rng(seed)).ravel() for seed in range(300)])
    along = noise @ inverse
    assert np.allclose(along.std(0), 0.5, rtol=0.15)
    assert np.allclose(noise, along @ basis, atol=1e-5), "noise has no part outside of them"


@pytest.mark.parametrize(("slope", "chosen"), [(1.0, max(SPEEDS)), (-1.0, min(SPEEDS))])
def test_the_candidate_that_the_critics_value_most_flies(slope: float, chosen: float) -> None:
    """Values that rise with the motion choose the fastest reference, those that fall the slowest."""
    token, proprio, _ = inputs()
    reference = np.ones((10, JOINTS), np.float32)
    made = Actor(CHOOSES, weights(TOKEN, JOINTS, critics=slope), 1)
    chunk, candidate = made.choose(token, proprio, reference)
    assert candidate == chosen
    assert np.allclose(chunk, chosen * reference)
    wide = Actor(CHOOSES, weights(TOKEN, JOINTS, bias=9.0, critics=1.0), 1)
    assert wide.choose(token, proprio, reference)[1] == OWN, "its own chunk moves ten times as much"
    young = Actor(dataclasses.replace(CHOOSES, selects=False), weights(TOKEN, JOINTS, critics=slope), 1)
    assert young.choose(token, proprio, reference)[1] == OWN, "the burn-in is not over"


def test_what_the_critics_disagree_on_counts_less() -> None:
    values = weights(TOKEN, JOINTS, critics=1.0)
    values.critics[0][0][1, -10 * JOINTS :] = -0.9  # the other one thinks the opposite: 0.05 in the mean, 1.3 apart
    token, proprio, _ = inputs()
    assert Actor(CHOOSES, values, 1).choose(token, proprio, np.ones((10, JOINTS), np.float32))[1] == min(SPEEDS)


def test_an_exploring_episode_draws_some_of_its_candidates() -> None:
    made = Actor(dataclasses.replace(CHOOSES, random_share=0.5), weights(TOKEN, JOINTS, critics=1.0), 1)
    token, proprio, _ = inputs()
    reference = np.ones((10, JOINTS), np.float32)
    rng = np.random.default_rng(0)
    drawn = [made.choose(token, proprio, reference, rng)[1] for _ in range(700)]
    assert set(drawn) == set(made.candidates)
    rare = sum(candidate != max(SPEEDS) for candidate in drawn) / len(drawn)
    assert rare == pytest.approx(0.5 * 6 / 7, abs=0.06)
    assert {made.choose(token, proprio, reference)[1] for _ in range(50)} == {max(SPEEDS)}


@given(st.integers(0, 2**32 - 1), st.sampled_from(SPEEDS))
def test_a_reference_at_another_speed_is_still_absolute_targets_from_the_same_base(seed: int, speed: float) -> None:
    """Row by row `base + speed * (target - base)`, through the one normaliser, whatever that is."""
    rng = np.random.default_rng(seed)
    scales = Normaliser(np.zeros(2 * JOINTS), np.ones(2 * JOINTS), rng.uniform(1e-4, 1e-2, JOINTS))
    base, targets = rng.normal(size=JOINTS), rng.normal(size=(10, JOINTS)) * 0.1
    reference = scales.actions(targets, base)
    flown = scales.targets(reference * np.float32(speed), base)
    assert np.allclose(flown, base + speed * (targets - base), atol=1e-5)


def test_the_same_weights_are_read_as_were_packed() -> None:
    made = weights(TOKEN, JOINTS, bias=0.3, critics=1.0)
    spec = dataclasses.replace(CHOOSES, noise=0.2, random_share=0.1)
    read = unpack_actor(pack_actor(spec, made, 7), BUNDLE)
    assert (read.spec, read.version) == (spec, 7)
    token, proprio, reference = inputs()
    chunk, candidate = Actor(spec, made, 7).choose(token, proprio, reference)
    again, same = read.choose(token, proprio, reference)
    assert np.array_equal(chunk, again)
    assert candidate == same


def broken(spec: ActorSpec = SPEC, layer: int = 0, value: float = 0.0, **shape: tuple[int, ...]) -> bytes:
    """Packed weights of which something is wrong."""
    made = weights(TOKEN, JOINTS, critics=1.0)
    made.layers[0][0][0, 0] += value
    if "basis" in shape:
        made = dataclasses.replace(made, basis=np.zeros(shape["basis"], np.float32))
    if "critics" in shape:
        made = dataclasses.replace(made, critics=[(np.ones(shape["critics"], np.float32), made.critics[0][1])])
    return pack_actor(spec, made, 1)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("format", b"not safetensors"),
        ("format", broken()[:-3]),
        ("bundle", broken(dataclasses.replace(SPEC, bundle_id="other"))),
        ("shape", broken(dataclasses.replace(SPEC, chunk=9))),
        ("finite", broken(value=np.nan)),
        ("shape", broken(basis=(30, 29))),
        ("shape", broken(basis=(30, 30))),
        ("shape", broken(critics=(2, 7, 1))),
        ("shape", broken(critics=(3, 40, 1))),
        ("shape", pack_actor(CHOOSES, weights(TOKEN, JOINTS), 1)),
    ],
)
def test_weights_that_must_not_fly(kind: str, data: bytes) -> None:
    with pytest.raises(WeightsError) as caught:
        unpack_actor(data, BUNDLE)
    assert caught.value.kind == kind


def test_a_critic_that_is_not_finite_is_refused() -> None:
    made = weights(TOKEN, JOINTS, critics=np.inf)
    with pytest.raises(WeightsError, match="not finite"):
        Actor(CHOOSES, made, 1)


def test_weights_of_an_older_version_are_refused_with_what_to_do() -> None:
    old = save(
        {"0.weight": np.zeros((1, 1), np.float32)}, metadata={"rlt_actor": json.dumps({"spec": {}, "version": 1})}
    )
    with pytest.raises(WeightsError, match="have format 1, this version of rlt_ros flies 2: train the actor anew"):
        unpack_actor(old, BUNDLE)


def test_two_layers_must_fit_each_other() -> None:
    made = weights(TOKEN, JOINTS)
    with pytest.raises(WeightsError, match="layer 1"):
        Actor(SPEC, dataclasses.replace(made, layers=2 * made.layers), 1)


def test_the_builder_of_the_tests_adds_its_bias() -> None:
    token, proprio, reference = inputs()
    assert np.allclose(actor(bias=0.5)(token, proprio, reference), reference + 0.5)
