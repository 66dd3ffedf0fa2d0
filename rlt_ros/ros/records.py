"""Between the graph and the journal: message definitions, stamps, and the messages inside records."""

from __future__ import annotations

import functools
import re
import struct
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from rclpy.serialization import deserialize_message

from rlt_ros import msg
from rlt_ros.journal.segment import Record

_TYPES: dict[str, type] = {
    f"rlt_ros/msg/{cls.__name__}": cls
    for cls in (
        msg.ControlStep,
        msg.EpisodeEvent,
        msg.ExecutorStatus,
        msg.LearnerStatus,
        msg.PolicyInput,
        msg.SessionState,
    )
}
_FIELD = re.compile(r"^\s*([A-Za-z]\w*(?:/\w+)?)(?:\[[^\]]*\])?\s+[a-z]\w*\s*(?:#.*|=.*)?$", re.MULTILINE)
_RULE = "=" * 80


@functools.cache
def definition(name: str) -> str:
    """The definition of a message with all that it contains, as MCAP's `ros2msg` schemas are written.

    Args:
        name: `package/msg/Name`.

    Raises:
        OSError: the package is not installed.
    """
    texts = {name: _source(name)}
    waiting = [name]
    while waiting:
        package = waiting[0].split("/")[0]
        for found in _FIELD.findall(texts[waiting.pop(0)]):
            if found[0].isupper() or "/" in found:
                inner = f"{found.split('/')[0] if '/' in found else package}/msg/{found.split('/')[-1]}"
                if inner not in texts:
                    texts[inner] = _source(inner)
                    waiting.append(inner)
    first, *others = texts
    parts = [texts[first]]
    parts += [f"{_RULE}\nMSG: {other.replace('/msg/', '/')}\n{texts[other]}" for other in others]
    return "\n".join(parts)


@functools.lru_cache(maxsize=64)
def _fields(text: str) -> tuple[str, ...]:
    """Lines of a definition that say something to a computer."""
    lines = (" ".join(line.split("#")[0].split()) for line in text.splitlines())
    return tuple(line for line in lines if line)


def _source(name: str) -> str:
    package, _, message = name.split("/")
    return Path(get_package_share_directory(package), "msg", f"{message}.msg").read_text()


def stamp_of(data: bytes) -> int:
    """Nanoseconds of the header that a serialised message begins with, without reading the rest."""
    order = "<" if data[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(f"{order}iI", data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def message_of(record: Record) -> Any:
    """The message inside a record of ours.

    Raises:
        ValueError: it is none of ours, its definition is another version's, or it is damaged.
    """
    cls = _TYPES.get(record.type)
    if cls is None:
        raise ValueError(f"{record.type} is not read back")
    if _fields(record.schema) != _fields(definition(record.type)):
        raise ValueError(f"{record.type} was recorded by another version of rlt_ros")
    try:
        return deserialize_message(record.data, cls)
    except Exception as error:  # rclpy raises its own kinds
        raise ValueError(f"a {record.type} is damaged: {error}") from error
