"""The directions in which chunks move: what RL sees of an action and may change of it.

A chunk of 10 rows of two arms is 140 numbers, but people move in a handful of directions (approach, aim, turn).
Critics that see all 140 learn slopes along directions no data supports, and the actor climbs them; in the coordinates
of the principal directions neither can happen. Their units are the size of what people do along each, not of what the
VLA plans: along the small ones a VLA hardly moves, but the corrections that help are there.
"""

from __future__ import annotations

import torch
from torch import Tensor

_FLOOR = 0.03
"""Smallest unit, as a share of the largest: what hardly anybody ever did is no scale to explore and to hold back by."""


class Directions:
    """Coordinates of chunks along principal directions.

    Attributes:
        basis: shape (K, C * J); orthogonal rows, each as long as its unit. Zeros: not known yet.
        inverse: shape (C * J, K); chunks @ inverse are coordinates.
    """

    def __init__(self, basis: Tensor) -> None:
        """Use these directions."""
        self.basis = basis
        self.inverse = (basis / basis.square().sum(1, keepdim=True).clamp_min(1e-12)).T.contiguous()

    @property
    def known(self) -> bool:
        """Whether they are any."""
        return bool(self.basis.any())

    @classmethod
    def of(cls, moment: Tensor, count: int) -> Directions:
        """The `count` directions with the largest second moment.

        Args:
            moment: of normalised chunks, shape (C J, C J).
            count: K, at most C J.
        """
        values, vectors = torch.linalg.eigh(moment.double())
        sizes = values.clamp_min(0.0).sqrt().flip(0)[:count]
        sizes = sizes.clamp_min(max(float(sizes[0]) * _FLOOR, 1e-3))
        return cls((vectors.flip(1)[:, :count] * sizes).T.float().contiguous())

    def to(self, device: torch.device) -> Directions:
        """The same on a device."""
        return Directions(self.basis.to(device))

    def coordinates(self, chunks: Tensor) -> Tensor:
        """Coordinates (N, K) of normalised chunks (N, C, J), or of rows of C * J."""
        return chunks.flatten(1) @ self.inverse

    def chunks(self, coordinates: Tensor) -> Tensor:
        """The chunks (N, C * J) with these coordinates (N, K)."""
        return coordinates @ self.basis


def moment(chunks: Tensor) -> Tensor:
    """Second moment (C J, C J) of chunks (n, C, J)."""
    flat = chunks.flatten(1)
    return flat.T @ flat / max(1, len(flat))
