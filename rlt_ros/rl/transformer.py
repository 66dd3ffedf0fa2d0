"""The transformer layer shared by the small VLA and the RL token."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class TransformerLayer(nn.Module):
    """Pre-norm self-attention and a two-layer perceptron, both residual."""

    def __init__(self, width: int, heads: int, expansion: int = 3) -> None:
        """Layer of `width` features and `heads` attention heads."""
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width)
        )

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        """Map (B, N, width) to the same shape; `causal` hides later positions from earlier ones."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, width))
        y: Tensor = x + self.mlp(x)
        return y
