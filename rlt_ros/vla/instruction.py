"""Turning an instruction into numbers, without a vocabulary file."""

from __future__ import annotations

import re
import zlib

import numpy as np
from numpy.typing import NDArray

INSTRUCTION_LENGTH = 8
INSTRUCTION_BUCKETS = 256


def encode_instruction(text: str) -> NDArray[np.int64]:
    """Hash the first words of `text` into buckets, shape (INSTRUCTION_LENGTH,); 0 pads.

    Raises:
        ValueError: the text holds no word.
    """
    words = re.findall(r"[a-z0-9]+", text.lower())
    if not words:
        raise ValueError(f"instruction {text!r} holds no word")
    ids = [1 + zlib.crc32(word.encode()) % (INSTRUCTION_BUCKETS - 1) for word in words[:INSTRUCTION_LENGTH]]
    return np.array(ids + [0] * (INSTRUCTION_LENGTH - len(ids)), dtype=np.int64)
