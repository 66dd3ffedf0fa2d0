"""The networks' promises: dropout is not defeated, the critic has no reference, ensembles are independent."""

from __future__ import annotations

import torch

from rlt_ros.rl.networks import ActorNetwork, CriticEnsemble, candidates


def test_the_untrained_actor_flies_what_it_is_shown_and_nothing_of_what_is_hidden() -> None:
    """One head for both would count the reference twice, and a residual on a hidden one would defeat the dropout."""
    torch.manual_seed(0)
    actor = ActorNetwork(10, 30, (16,))
    state, reference = torch.randn(4, 10), torch.randn(4, 30)
    shown = torch.tensor([True, False, True, False])
    out = actor(state, reference, shown)
    assert torch.equal(actor(state, reference), reference)
    assert torch.equal(out[shown], reference[shown])
    assert torch.equal(out[~shown], actor(state, -3 * reference, shown)[~shown])
    assert not torch.allclose(out[1], out[3]), "it follows the state by itself"


def test_without_pass_through_nothing_is_shown() -> None:
    actor = ActorNetwork(10, 30, (16,), pass_through=False)
    state = torch.randn(4, 10)
    assert torch.equal(actor(state, torch.randn(4, 30)), actor(state, torch.randn(4, 30)))
    assert actor.head is actor.hidden_head


def test_candidates_are_valued_as_single_chunks_are() -> None:
    torch.manual_seed(0)
    critics = CriticEnsemble(10, 6, (16, 8), critics=3)
    state, reference, own = torch.randn(5, 10), torch.randn(5, 6), torch.randn(5, 6)
    several = candidates(reference, own, (0.5, 2.0))
    assert torch.equal(several[:, 1], 2 * reference)
    assert torch.equal(several[:, 2], own)
    members = torch.tensor([0, 2])
    values = critics(state, several, members)
    assert values.shape == (2, 5, 3)
    for index in range(3):
        assert torch.allclose(values[..., index], critics(state, several[:, index], members), atol=1e-5)


def test_critics_are_independent_and_equal_single_ones() -> None:
    torch.manual_seed(0)
    both = CriticEnsemble(10, 30, (16, 8), critics=2)
    state, actions = torch.randn(5, 4 + 6), torch.randn(5, 30)
    values = both(state, actions)
    assert torch.allclose(both(state, actions, torch.tensor([1])), values[1:], atol=1e-6)
    assert values.shape == (2, 5)
    for k in range(2):
        single = CriticEnsemble(10, 30, (16, 8), critics=1)
        single.load_state_dict({name: value[k : k + 1] for name, value in both.state_dict().items()})
        assert torch.allclose(single(state, actions)[0], values[k], atol=1e-5)
    values[0].sum().backward()
    for parameter in both.parameters():
        assert not parameter.grad[1].any()
