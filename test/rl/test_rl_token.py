"""The RL token: the decoder is causal, the token matters, the embeddings get no gradient."""

from __future__ import annotations

import torch

from rlt_ros.rl.rl_token import RLToken, TokenDecoder, hide_context

WIDTH, LENGTH, TOKEN = 16, 6, 8


def test_a_later_embedding_never_changes_an_earlier_prediction() -> None:
    torch.manual_seed(0)
    decoder = TokenDecoder(WIDTH, LENGTH, TOKEN).eval()
    token, z = torch.randn(2, TOKEN), torch.randn(2, LENGTH, WIDTH)
    with torch.no_grad():
        before = decoder(token, z)
        for j in range(LENGTH):
            changed = z.clone()
            changed[:, j] += 10.0 * torch.randn(WIDTH)
            after = decoder(token, changed)
            assert torch.allclose(after[:, : j + 1], before[:, : j + 1], atol=1e-5)
            if j + 1 < LENGTH:
                assert not torch.allclose(after[:, j + 1 :], before[:, j + 1 :], atol=1e-3)


def test_every_prediction_depends_on_the_token() -> None:
    torch.manual_seed(0)
    decoder = TokenDecoder(WIDTH, LENGTH, TOKEN).eval()
    z = torch.randn(1, LENGTH, WIDTH)
    with torch.no_grad():
        a, b = decoder(torch.randn(1, TOKEN), z), decoder(torch.randn(1, TOKEN), z)
    assert ((a - b).abs().amax(-1) > 1e-4).all()


def test_full_context_dropout_leaves_the_token_alone_to_decide() -> None:
    torch.manual_seed(0)
    decoder = TokenDecoder(WIDTH, LENGTH, TOKEN).eval()
    token = torch.randn(1, TOKEN)
    with torch.no_grad():
        a, b = (decoder(token, z, hide_context(z, 1.0)) for z in torch.randn(2, 1, LENGTH, WIDTH))
    assert torch.allclose(a, b)


def test_the_share_of_hidden_context_is_the_one_asked_for() -> None:
    torch.manual_seed(0)
    z = torch.zeros(200, LENGTH, WIDTH)
    assert not hide_context(z, 0.0).any()
    assert abs(float(hide_context(z, 0.9).float().mean()) - 0.9) < 0.03


def test_training_makes_the_true_token_better_than_a_strangers_and_stops_at_the_embeddings() -> None:
    torch.manual_seed(0)
    model = RLToken(WIDTH, LENGTH, TOKEN)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    basis = torch.randn(3, LENGTH * WIDTH)
    for _ in range(300):
        z = (torch.randn(32, 3) @ basis).view(32, LENGTH, WIDTH).requires_grad_()
        loss = model.loss(z)
        optimiser.zero_grad()
        loss.backward()
        assert z.grad is None
        optimiser.step()
    probe = model.probe((torch.randn(64, 3) @ basis).view(64, LENGTH, WIDTH))
    assert probe["shuffled"] > 1.2 * probe["true"]
    assert probe["zero"] > 1.2 * probe["true"]
