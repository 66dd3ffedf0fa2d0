"""What a VLA must do to be flown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class InferenceError(RuntimeError):
    """The VLA gave nothing, or something that must not be flown."""


@dataclass(frozen=True)
class Pass:
    """What a VLA gives in one forward pass.

    Attributes:
        reference: absolute joint targets, shape (H, J).
        embeddings: the final embeddings that the token is made of, shape (L, W), float16 or float32; None where the
            VLA makes the token itself.
        token: RL token, shape (D,); None where it is to be made of the embeddings.
    """

    reference: NDArray[np.float32]
    embeddings: NDArray[Any] | None = None
    token: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Inference:
    """What is published of one moment.

    Attributes:
        token: RL token, shape (D,); empty for a bundle without.
        reference: absolute joint targets, shape (H, J).
        seconds: duration of the pass.
        embeddings: what the token was made of, shape (L, W); None where the VLA made it itself.
    """

    token: NDArray[np.float32]
    reference: NDArray[np.float32]
    seconds: float
    embeddings: NDArray[Any] | None = None


class VlaBackend(Protocol):
    """One VLA, however it is run. A back end of one's own is a class like this, and a line in `loaded._make`."""

    provider: str
    """What it runs on, for people."""
    skipped: tuple[str, ...]
    """What was asked for before that and is not there."""

    def set_instruction(self, instruction: str) -> None:
        """What the VLA is told from now on.

        Raises:
            ValueError: it cannot be told that; the message says what it can.
        """

    batch: int
    """Moments that one pass takes at most; 1: no more than one."""

    def infer(self, images: NDArray[np.uint8], position: NDArray[np.float32]) -> list[Pass]:
        """One pass, which may take as long as it wants: it is called in a thread of its own.

        Args:
            images: of up to `batch` moments, shape (N, cameras, size, size, 3), RGB, in the bundle's camera order.
            position: joint positions in the bundle's order, shape (N, J).

        Raises:
            InferenceError: there is no answer; the message says why. The next call tries anew.
        """

    def close(self) -> None:
        """Let go of connections and memory."""


class TokenSource(Protocol):
    """Who gives token and reference of a moment: a `LoadedVla`, or what stands in for it in an ablation."""

    def set_instruction(self, instruction: str) -> None:
        """See `VlaBackend`."""

    def infer(self, images: NDArray[np.uint8], position: NDArray[Any]) -> Inference:
        """See `LoadedVla`."""
