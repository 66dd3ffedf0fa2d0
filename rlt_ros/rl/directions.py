"""The directions in which the VLA's reference chunks move: what RL sees of an action and may change of it.

A chunk of 10 rows of 14 joints is 140 numbers, but demonstrators move in a handful of directions (approach, aim,
turn). Critics that see all 140 learn slopes along directions no data supports, and the actor climbs them. In the
coordinates of the principal directions neither can happen, and a reference's own size is 1 along each.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Directions:
    """Coordinates of chunks along principal directions.

    Attributes:
        basis: shape (K, C * J); orthogonal rows, each as long as the references' root mean square along it.
        inverse: shape (C * J, K); chunks @ inverse are coordinates.
    """

    def __init__(self, basis: Tensor) -> None:
        """Use these directions."""
        self.basis = basis
        self.inverse = (basis / basis.square().sum(1, keepdim=True).clamp_min(1e-12)).T.contiguous()

    @classmethod
    def of(cls, references: Tensor, count: int) -> Directions:
        """The `count` directions with the largest second moment of references (n, C, J)."""
        flat = references.flatten(1)
        values, vectors = torch.linalg.eigh(flat.T @ flat / max(1, len(flat)))
        largest = values.clamp_min(1e-8).flip(0)[:count]
        return cls((vectors.flip(1)[:, :count] * largest.sqrt()).T.contiguous())

    def coordinates(self, chunks: Tensor) -> Tensor:
        """Coordinates (N, K) of normalised chunks (N, C, J), or of rows of C * J."""
        return chunks.flatten(1) @ self.inverse

    def chunks(self, coordinates: Tensor) -> Tensor:
        """The chunks (N, C * J) with these coordinates (N, K)."""
        return coordinates @ self.basis
