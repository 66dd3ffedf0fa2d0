"""openpi's websocket messages: msgpack, with numpy arrays as maps of their bytes, type and shape.

The form is that of openpi's `msgpack_numpy` (https://github.com/Physical-Intelligence/openpi), for numbers and truth
values only: nothing in a message can run.
"""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np

_KINDS = "biuf"
LARGEST = 64 << 20
"""Bytes of a message: 768 embeddings of 2048 numbers of 16 bit are 3 MB, a batch of sixteen 48."""


class WireError(ValueError):
    """A message is not what it must be."""


def pack(message: dict[str, Any]) -> bytes:
    """A message as bytes.

    Raises:
        TypeError: something in it has no such form.
    """
    packed: bytes = msgpack.packb(message, default=_array_as_map)
    return packed


def unpack(data: bytes) -> dict[str, Any]:
    """The message in some bytes; its arrays cannot be written to.

    Raises:
        WireError: they are none, or hold an array that is not of numbers.
    """
    try:
        message = msgpack.unpackb(data, object_hook=_map_as_array)
    except WireError:
        raise
    except Exception as error:  # of msgpack, whose exceptions share no base class
        raise WireError(f"not msgpack: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise WireError(f"a map is expected, this is {type(message).__name__}")
    return message


def _array_as_map(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS:
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic) and value.dtype.kind in _KINDS:
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _map_as_array(value: dict[Any, Any]) -> Any:
    if not (b"__ndarray__" in value or b"__npgeneric__" in value):
        return value
    try:
        dtype = np.dtype(value[b"dtype"])
        if dtype.kind not in _KINDS:
            raise WireError(f"an array of {dtype} is refused")
        if b"__npgeneric__" in value:
            return dtype.type(value[b"data"])
        return np.frombuffer(value[b"data"], dtype).reshape(value[b"shape"])
    except WireError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise WireError(f"an array is damaged: {error}") from error
