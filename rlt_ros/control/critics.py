"""The critics in numpy: which of a few candidates flies is decided with them at chunk boundaries, inside the loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlt_ros.types import Array32

Layer = tuple[Array32, Array32]
"""Weights of shape (E, in, out) and biases of shape (E, out) of E critics."""
_EPSILON = 1e-5
"""Of the layer norm, as in torch."""


class Critics:
    """E perceptrons `Q(x, a)` with layer norm, as `rlt_ros.rl.networks.CriticEnsemble`."""

    def __init__(self, layers: Sequence[Layer], state_size: int) -> None:
        """Use these weights, first layer first.

        Args:
            layers: of all critics.
            state_size: numbers of a state; the rest of the first layer's inputs are coordinates of chunks.
        """
        self.layers = [(weight, bias) for weight, bias in layers]
        first, _ = self.layers[0]
        self._count, _, width = first.shape
        # Of the state there is one, of chunks several: its part is one product, the critics' side by side.
        self._state = np.ascontiguousarray(first[:, :state_size].transpose(1, 0, 2)).reshape(state_size, -1)
        self._action, self._width = np.ascontiguousarray(first[:, state_size:]), width

    def __call__(self, state: Array32, coordinates: Array32) -> Array32:
        """Values, shape (E, M), of M chunks with these coordinates, shape (M, K), in a state, shape (S,)."""
        of_state = (state @ self._state).reshape(self._count, 1, self._width)
        x = of_state + coordinates @ self._action + self.layers[0][1][:, None]
        for weight, bias in self.layers[1:]:
            centred = x - x.mean(-1, keepdims=True)
            normed = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + _EPSILON)
            x = np.maximum(normed, 0.0) @ weight + bias[:, None]
        return np.asarray(x[..., 0], dtype=np.float32)

    def lower_bound(self, state: Array32, coordinates: Array32) -> Array32:
        """What the critics agree on at least: their mean less one standard deviation, shape (M,)."""
        values = self(state, coordinates)
        if self._count == 1:
            return np.asarray(values[0])
        return np.asarray(values.mean(0) - values.std(0, ddof=1), dtype=np.float32)
