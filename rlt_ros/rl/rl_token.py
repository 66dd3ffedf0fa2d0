"""The RL token: one vector that carries what a frozen VLA's embeddings know (RL Token, section 3.1).

The encoder reads the VLA's final embeddings `z_1..z_M` and one learned embedding appended last; its output
there is the token. The decoder must rebuild the embeddings from the token autoregressively:
`L_ro = E sum_i || h(d([z_rl, sg(z_1..z_{i-1})]))_i - sg(z_i) ||^2`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlt_ros.rl.transformer import TransformerLayer


class TokenEncoder(nn.Module):
    """`z_rl = g([z_1..z_M, e_rl])_{M+1}`."""

    def __init__(self, width: int, length: int, token_dim: int, *, layers: int = 2, heads: int = 4) -> None:
        """Encode `length` embeddings of `width` into a token of `token_dim`."""
        super().__init__()
        self.heads = heads
        self.readout = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, length + 1, width) * 0.02)
        self.layers = nn.ModuleList(TransformerLayer(width, heads) for _ in range(layers))
        self.project = nn.Linear(width, token_dim)
        self.norm = nn.LayerNorm(token_dim, elementwise_affine=False)

    def forward(self, z: Tensor) -> Tensor:
        """Token, shape (B, token_dim), of embeddings (B, M, width)."""
        x = torch.cat([z, self.readout.expand(z.shape[0], -1, -1)], dim=1) + self.positions
        for layer in self.layers:
            x = layer(x)
        token: Tensor = self.norm(self.project(x[:, -1]))
        return token


class TokenDecoder(nn.Module):
    """Causal transformer that predicts `z_i` from the token and `z_1..z_{i-1}`."""

    def __init__(self, width: int, length: int, token_dim: int, *, layers: int = 2, heads: int = 4) -> None:
        """Decode `length` embeddings of `width` from a token of `token_dim`."""
        super().__init__()
        self.start = nn.Linear(token_dim, width)
        self.dropped = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, length, width) * 0.02)
        self.layers = nn.ModuleList(TransformerLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, width)

    def forward(self, token: Tensor, z: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Predictions of `z`, shape (B, M, width), under teacher forcing.

        Args:
            token: shape (B, token_dim).
            z: targets, shape (B, M, width); only `z_1..z_{i-1}` reach the prediction of `z_i`.
            hidden: which of `z_1..z_{M-1}` the decoder does not see, shape (B, M - 1), see `hide_context`.
        """
        context = z[:, :-1]
        if hidden is not None:
            context = torch.where(hidden[..., None], self.dropped, context)
        x = torch.cat([self.start(token)[:, None], context], dim=1) + self.positions
        for layer in self.layers:
            x = layer(x, causal=True)
        prediction: Tensor = self.head(self.norm(x))
        return prediction


def hide_context(z: Tensor, share: float) -> Tensor:
    """Draw which teacher-forced embeddings are hidden from the decoder, shape (B, M - 1).

    If none were, the decoder would copy from its neighbours and the token would learn nothing.
    """
    return torch.rand(z.shape[0], z.shape[1] - 1, device=z.device) < share


class RLToken(nn.Module):
    """Encoder and decoder together, for training; only the encoder is kept afterwards."""

    def __init__(self, width: int, length: int, token_dim: int, *, layers: int = 2, heads: int = 4) -> None:
        """See `TokenEncoder` and `TokenDecoder`."""
        super().__init__()
        self.encoder = TokenEncoder(width, length, token_dim, layers=layers, heads=heads)
        self.decoder = TokenDecoder(width, length, token_dim, layers=layers, heads=heads)

    def loss(self, z: Tensor, context_dropout: float = 0.9) -> Tensor:
        """Reconstruction loss `L_ro` per embedding dimension; gradients stop at `z`."""
        z = z.detach()
        return functional.mse_loss(self.decoder(self.encoder(z), z, hide_context(z, context_dropout)), z)

    @torch.no_grad()
    def probe(self, z: Tensor, context_dropout: float = 0.9) -> dict[str, float]:
        """Does the decoder use the token? Reconstruction loss with the true, a shuffled and a zero token.

        All three see the same context, thinned out as in training.

        Args:
            z: embeddings of moments in random order, shape (B, M, width).
            context_dropout: share of the context that is hidden.
        """
        token, hidden = self.encoder(z), hide_context(z, context_dropout)
        variants = {"true": token, "shuffled": token.roll(1, dims=0), "zero": torch.zeros_like(token)}
        return {name: float(functional.mse_loss(self.decoder(t, z, hidden), z)) for name, t in variants.items()}
