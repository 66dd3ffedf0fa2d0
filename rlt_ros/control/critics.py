"""The critics in numpy: which of a few candidates flies is decided with them at chunk boundaries, inside the loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlt_ros.types import Array32

Layer = tuple[Array32, Array32]
"""Weights of shape (E, in, out) and biases of shape (E, out) of E critics."""
EPSILON = 1e-5
"""Of the layer norm, as in torch."""


class Critics:
    """E perceptrons `Q(x, a)` with layer norm, as `rlt_ros.rl.networks.CriticEnsemble`.

    A layer norm takes the mean of what comes before it: the weights before it do so once and for all. What it divides
    by is one number a row, which waits until after the next product, where there is less to divide.
    """

    def __init__(self, layers: Sequence[Layer], state_size: int) -> None:
        """Use these weights, first layer first.

        Args:
            layers: of all critics.
            state_size: numbers of a state; the rest of the first layer's inputs are coordinates of chunks.
        """
        *normed, last = layers
        layers = [*(_centred(*layer) for layer in normed), last]
        first, bias = layers[0]
        self._count, _, width = first.shape
        # Of the state there is one, of chunks several: its part is one product, the critics' side by side.
        self._state = np.ascontiguousarray(first[:, :state_size].transpose(1, 0, 2)).reshape(state_size, -1)
        self._action, self._bias = np.ascontiguousarray(first[:, state_size:]), bias.reshape(-1)
        self._shape = (self._count, 1, width)
        self._layers = [(np.ascontiguousarray(weight), bias[:, None]) for weight, bias in layers[1:]]

    def __call__(self, state: Array32, coordinates: Array32) -> Array32:
        """Values, shape (E, M), of M chunks with these coordinates, shape (M, K), in a state, shape (S,)."""
        x: Array32 = coordinates @ self._action
        x += (state @ self._state + self._bias).reshape(self._shape)
        for weight, bias in self._layers:
            size = np.sqrt(np.einsum("emh,emh->em", x, x) / np.float32(x.shape[-1]) + np.float32(EPSILON))
            x = np.maximum(x, 0.0, out=x) @ weight
            x /= size[..., None]
            x += bias
        return np.asarray(x[..., 0])

    def lower_bound(self, state: Array32, coordinates: Array32) -> Array32:
        """What the critics agree on at least: their mean less one standard deviation, shape (M,)."""
        values = self(state, coordinates)
        mean = values.sum(0) / np.float32(self._count)
        if self._count > 1:
            mean -= np.sqrt(np.square(values - mean).sum(0) / np.float32(self._count - 1))
        return np.asarray(mean)


def _centred(weight: Array32, bias: Array32) -> Layer:
    """A layer whose outputs have no mean."""
    return weight - weight.mean(-1, keepdims=True), bias - bias.mean(-1, keepdims=True)
