"""The networks' promises: dropout is not defeated, the critic has no reference, ensembles are independent."""

from __future__ import annotations

import torch

from rlt_ros.rl.actor_critic import ActorNetwork, CriticEnsemble


def test_with_the_reference_dropped_the_output_still_follows_the_state() -> None:
    """A residual on the true reference would silently defeat reference dropout (seen elsewhere)."""
    torch.manual_seed(0)
    actor = ActorNetwork(10, 30, (16,))
    out = actor(torch.randn(2, 4 + 6), torch.zeros(2, 30))
    assert not torch.allclose(out[0], out[1])
    assert out.abs().max() < 0.1


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
