"""The numpy actor equals the trained network, and broken weights are refused by name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from support import BUNDLE, JOINTS, TOKEN, actor

from rlt_ros.control.actor import Actor, ActorSpec, WeightsError, pack_actor, unpack_actor
from rlt_ros.rl.actor_critic import ActorNetwork, export_actor
from rlt_ros.rl.directions import Directions

SPEC = ActorSpec(BUNDLE, TOKEN, JOINTS, 10)


def inputs(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=TOKEN).astype(np.float32),
        rng.normal(size=2 * JOINTS).astype(np.float32),
        rng.normal(size=(10, JOINTS)).astype(np.float32),
    )


def test_numpy_and_torch_agree() -> None:
    torch.manual_seed(0)
    network = ActorNetwork(TOKEN + 2 * JOINTS, 10 * JOINTS, (32, 16))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    flown = unpack_actor(export_actor(network, SPEC, 7), BUNDLE)
    assert flown.version == 7
    for seed in range(5):
        token, proprio, reference = inputs(seed)
        with torch.no_grad():
            state = torch.from_numpy(np.concatenate([token, proprio]))
            wanted = network(state[None], torch.from_numpy(reference).reshape(1, -1))[0].numpy()
        assert np.allclose(flown(token, proprio, reference), wanted.reshape(reference.shape), atol=1e-5)


def test_what_an_actor_changes_along_directions_is_part_of_the_weights_that_fly() -> None:
    torch.manual_seed(0)
    network = ActorNetwork(TOKEN + 2 * JOINTS, 2, (32,))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    basis = torch.linalg.qr(torch.randn(10 * JOINTS, 2))[0].T * torch.tensor([[3.0], [0.5]])
    directions = Directions(basis)
    flown = unpack_actor(export_actor(network, SPEC, 7, directions, 0.5 * basis), BUNDLE)
    token, proprio, reference = inputs(1)
    with torch.no_grad():
        state = torch.from_numpy(np.concatenate([token, proprio]))[None]
        seen = directions.coordinates(torch.from_numpy(reference)[None])
        changed = directions.chunks(network(state, seen) - seen)[0].numpy().reshape(reference.shape)
    assert np.allclose(flown(token, proprio, reference), reference + changed, atol=1e-4)
    noise = np.array([flown.exploration(np.random.default_rng(seed)).ravel() for seed in range(300)])
    along = noise @ directions.inverse.numpy()
    assert np.allclose(along.std(0), 0.5, rtol=0.15)
    assert np.allclose(noise, along @ basis.numpy(), atol=1e-5), "noise has no part outside of them"


def test_a_fresh_actor_flies_the_reference() -> None:
    network = ActorNetwork(TOKEN + 2 * JOINTS, 10 * JOINTS, (32,))
    token, proprio, reference = inputs()
    flown = unpack_actor(export_actor(network, SPEC, 1), BUNDLE)(token, proprio, reference)
    assert np.abs(flown - reference).max() < 0.05


def good_layers() -> list[tuple[np.ndarray, np.ndarray]]:
    size = TOKEN + 2 * JOINTS + 10 * JOINTS
    return [(np.zeros((size, 10 * JOINTS), np.float32), np.zeros(10 * JOINTS, np.float32))]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("format", b"not safetensors"),
        ("format", pack_actor(SPEC, good_layers(), 1)[:-3]),
        ("bundle", pack_actor(dataclasses.replace(SPEC, bundle_id="other"), good_layers(), 1)),
        ("shape", pack_actor(dataclasses.replace(SPEC, chunk=9), good_layers(), 1)),
        ("finite", pack_actor(SPEC, [(good_layers()[0][0] + np.nan, good_layers()[0][1])], 1)),
    ],
)
def test_weights_that_must_not_fly(kind: str, data: bytes) -> None:
    with pytest.raises(WeightsError) as caught:
        unpack_actor(data, BUNDLE)
    assert caught.value.kind == kind


def test_two_layers_must_fit_each_other() -> None:
    weight, bias = good_layers()[0]
    with pytest.raises(WeightsError, match="layer 1"):
        Actor(SPEC, [(weight, bias), (weight, bias)], 1)


def test_the_builder_of_the_tests_adds_its_bias() -> None:
    token, proprio, reference = inputs()
    assert np.allclose(actor(bias=0.5)(token, proprio, reference), reference + 0.5)
