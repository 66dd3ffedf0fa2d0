"""Demonstrations from disk: LeRobot v3 datasets, our own and others', checked by names, units and tasks.

What `DatasetWriter` adds to a frame (`critical_phase`, `grounding`) may be missing, and velocities too.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from rlt_ros.config import ConfigError
from rlt_ros.control.measured import LARGEST_ANGLE, LARGEST_SPEED
from rlt_ros.missing import remedy
from rlt_ros.types import GROUNDING, Episode
from rlt_ros.vla.dataset_writer import IMAGES, VERSION, Contents, DatasetWriter

__all__ = ["Contents", "DatasetWriter", "decode_jpeg", "read_contents", "read_episodes"]
_MULTIPLE = 32
"""The small VLA halves images five times."""


def read_contents(directory: Path) -> Contents:
    """What a dataset holds.

    Raises:
        ConfigError: it is not a LeRobot v3 dataset with pictures, or lacks what stage 1 needs.
    """
    info = _read_info(directory)
    features = info["features"]
    cameras = tuple(name.removeprefix(IMAGES) for name in features if name.startswith(IMAGES))
    for name in ("observation.state", "action"):
        if name not in features:
            raise ConfigError(f"{directory} has no feature '{name}'; it has {', '.join(features)}")
    unknown = [name for name in cameras if features[IMAGES + name]["dtype"] not in ("image", "video")]
    if unknown or not cameras:
        what = f"pictures of another kind ({', '.join(unknown)})" if unknown else "no pictures"
        raise ConfigError(f"{directory} holds {what}; images and videos are read")
    shapes = {tuple(features[IMAGES + name]["shape"]) for name in cameras}
    height, width, channels = next(iter(shapes))
    if len(shapes) > 1 or channels != 3 or height != width or height % _MULTIPLE:
        raise ConfigError(
            f"{directory}: images must be (side, side, 3) with one side that is a multiple of {_MULTIPLE}, "
            f"they are {sorted(shapes)}"
        )
    joints = _names(features["action"])
    if not joints or features["action"]["shape"] != [len(joints)]:
        raise ConfigError(
            f"{directory}: 'action' has shape {features['action']['shape']} and names {len(joints)} joints; stage 1 "
            "needs joint positions and joint targets of the same named joints"
        )
    for name in ("observation.state", "observation.velocity"):
        if name in features:
            _columns(directory, features, name, joints)
    return Contents(str(info.get("robot_type") or "unknown"), joints, cameras, height, 1 / info["fps"])


def _columns(directory: Path, features: dict[str, Any], name: str, joints: tuple[str, ...]) -> list[int]:
    """Where a feature has the joints of the actions: by their names.

    Raises:
        ConfigError: it lacks a joint, or has as many columns as none of its names.
    """
    named, width = _names(features[name]), int(np.prod(features[name]["shape"]))
    if not named and width == len(joints):
        return list(range(width))  # who gives no names says that they are the same
    missing = [joint for joint in joints if joint not in named]
    if missing or len(named) != width or len(set(named)) != len(named):
        raise ConfigError(
            f"{directory}: 'action' commands {', '.join(joints)}; '{name}' has {width} columns named "
            f"{', '.join(named) or 'nothing'}; stage 1 needs joint positions and joint targets of the same named joints"
        )
    return [named.index(joint) for joint in joints]


def _names(feature: dict[str, Any]) -> tuple[str, ...]:
    """Joint names in any of the forms that lerobot knows: a list, or lists in a mapping."""
    names = feature.get("names") or []
    if isinstance(names, dict):
        names = [name for group in names.values() for name in (group if isinstance(group, list) else [group])]
    return tuple(map(str, names))


def read_episodes(directory: Path, stride: int, cameras: tuple[str, ...] = ()) -> Iterator[Episode]:
    """The episodes of a dataset in order.

    Args:
        directory: of the dataset.
        stride: frames between two decoded sets of images.
        cameras: whose images, in this order; default: all, in the dataset's.

    Raises:
        ConfigError: see `read_contents`; or a file is missing.
    """
    contents, info = read_contents(directory), _read_info(directory)
    contents = dataclasses.replace(contents, cameras=cameras or contents.cameras)
    index: list[dict[str, Any]] = []
    for path in sorted((directory / "meta/episodes").glob("*/*.parquet")):
        index += _read_table(path).to_pylist()
    if not index:
        raise ConfigError(f"{directory} lists no episode in meta/episodes: it is empty, or its recording did not end")
    sentences = _sentences(directory)
    for entry in index:
        number = entry.get("episode_index", "?")
        try:
            path = directory / info["data_path"].format(
                chunk_index=entry["data/chunk_index"], file_index=entry["data/file_index"]
            )
        except (KeyError, IndexError) as error:
            raise ConfigError(f"{directory}: episode {number} does not say which file it is in ({error})") from error
        if not path.is_file():
            raise ConfigError(f"{path} of episode {number} is missing")
        table = _read_table(path, filters=[("episode_index", "=", number)])
        where = f"{path}, episode {number}"
        if not len(table) or len(table) != entry.get("length", len(table)):
            raise ConfigError(
                f"{where}: {len(table)} frames, {entry.get('length')} are listed in meta/episodes: the index is stale, "
                "or the recording was cut; delete the episode with LeRobot's tools, or record it anew"
            )
        try:
            parts = list(_by_task(table, entry, sentences))
            won = "next.success" not in table.column_names or any(table["next.success"].to_pylist())
            first = 0
            for part, sentence in parts:
                made = _episode(part, entry, contents, stride, info, directory, sentence, first)
                first += len(part)
                if part is not parts[-1][0]:  # what was told before the last thing was done before it
                    made = dataclasses.replace(made, ticks=len(part) if won else 0)
                yield _checked(made, contents, where)
        except ConfigError:
            raise
        except Exception as error:  # of pyarrow, PIL or numpy: without file and episode nobody could mend it
            raise ConfigError(f"{where} cannot be read: {type(error).__name__}: {error}") from error


def _read_table(path: Path, **options: Any) -> pa.Table:
    try:
        return pq.read_table(path, **options)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path} cannot be read ({str(error).splitlines()[0]}): copy it anew") from error


def _sentences(directory: Path) -> dict[int, str]:
    """The tasks by their index, as a dataset's frames name them; empty where it has no table of them."""
    path = directory / "meta/tasks.parquet"
    if not path.is_file():
        return {}
    table = _read_table(path).to_pydict()
    told = table.get("task") or table.get("__index_level_0__") or []
    return {int(number): str(text) for number, text in zip(table.get("task_index", []), told, strict=False)}


def _by_task(table: pa.Table, entry: dict[str, Any], sentences: dict[int, str]) -> Iterator[tuple[pa.Table, str]]:
    """The parts of an episode in which the robot was told one thing, each with that sentence."""
    tasks = entry.get("tasks") or [""]
    if "task_index" not in table.column_names:
        yield table, str(tasks[0])
        return
    numbers = np.array(table["task_index"].to_pylist())
    cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1), len(numbers)]
    for first, end in itertools.pairwise(cuts):
        number = int(numbers[first])
        if number not in sentences and len(cuts) > 2:
            raise ConfigError(f"task {number} is not in meta/tasks.parquet")
        yield table.slice(first, end - first), sentences.get(number, str(tasks[0]))


def _checked(episode: Episode, contents: Contents, where: str) -> Episode:
    """An episode in rad, rad/s and plausible motion.

    Raises:
        ConfigError: a value is not finite, or beyond reason for its unit.
    """
    for what, values, largest, unit in (
        ("observation.state", np.abs(episode.position), LARGEST_ANGLE, "rad (grippers 0-1)"),
        ("action", np.abs(episode.command), LARGEST_ANGLE, "rad (grippers 0-1)"),
        ("observation.velocity", np.abs(episode.velocity), LARGEST_SPEED, "rad/s"),
    ):
        if not np.isfinite(values).all():
            raise ConfigError(f"{where}: {what} is not finite")
        # One frame may be a fault of a sensor; a unit is wrong in most of them.
        usual = np.median(values, axis=0)
        reached = values.max(0) if largest is LARGEST_ANGLE else usual
        joint = int(np.argmax(reached))
        if reached[joint] > largest:
            raise ConfigError(
                f"{where}: {what} of {contents.joints[joint]} reaches {reached[joint]:.4g}, beyond reason for {unit}: "
                "degrees, or a gripper in percent? Convert the dataset"
            )
    return episode


def _episode(
    table: pa.Table,
    entry: dict[str, Any],
    contents: Contents,
    stride: int,
    info: dict[str, Any],
    directory: Path,
    sentence: str,
    first: int,
) -> Episode:
    """The rows of `table`, of which the first is frame `first` of the episode."""
    length = len(table)

    def column(name: str, default: NDArray[Any]) -> NDArray[Any]:
        if name not in table.column_names:
            return default
        return np.array(table[name].to_pylist(), dtype=default.dtype)

    def by_joint(name: str) -> NDArray[np.float32]:
        values = column(name, np.zeros((length, 0), np.float32)).reshape(length, -1)
        return values[:, _columns(directory, info["features"], name, contents.joints)]

    joints = len(contents.joints)
    seen = np.arange(0, length, stride)
    pictures = [
        _filmed(directory, info, entry, name, first + seen)
        if info["features"][IMAGES + name]["dtype"] == "video"
        else [decode_jpeg(table[IMAGES + name][int(i)].as_py()["bytes"]) for i in seen]
        for name in contents.cameras
    ]
    images = np.stack(pictures, axis=1)
    action = column("action", np.zeros((0, joints), np.float32)).astype(np.float64).reshape(length, joints)
    position = by_joint("observation.state")
    given = "observation.velocity" in table.column_names
    # Most datasets have no velocities: they are what the positions do.
    velocity = by_joint("observation.velocity") if given else _derivative(position, contents.period)
    # Who recorded no success kept good demonstrations only.
    success = np.flatnonzero(column("next.success", np.arange(length) == length - 1))
    return Episode(
        task=entry.get("task_name") if entry.get("task_name") and len(entry.get("tasks") or [0]) == 1 else sentence,
        instruction=sentence,
        setting=entry.get("setting") or "controlled",
        ticks=int(success[0]) + 1 if len(success) else 0,
        image_ticks=seen,
        images=images,
        position=position,
        velocity=velocity,
        before=action[0],
        command=action,
        critical=column("critical_phase", np.ones(length, dtype=bool)),
        grounding=column("grounding", np.full((length, GROUNDING), np.nan, np.float32)),
    )


def _filmed(
    directory: Path, info: dict[str, Any], entry: dict[str, Any], camera: str, wanted: NDArray[np.int64]
) -> list[NDArray[np.uint8]]:
    """Frames of an episode from its video file, decoded in one go.

    Args:
        directory: of the dataset.
        info: of the dataset.
        entry: of the episode in the index.
        camera: whose.
        wanted: numbers of the frames, rising, counted from the episode's first.

    Raises:
        ConfigError: the file is missing, or does not hold them.
    """
    try:
        import av
    except ImportError as error:
        raise ConfigError(f"{directory} has videos, which PyAV reads: {remedy(error, 'adapt')}") from error
    key = IMAGES + camera
    place = {name: entry[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
    path = directory / info["video_path"].format(video_key=key, **place)
    if not path.is_file():
        raise ConfigError(f"{path} is missing")
    start, rate = float(entry.get(f"videos/{key}/from_timestamp") or 0.0), float(info["fps"])
    times = start + wanted / rate
    made: list[NDArray[np.uint8]] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if stream.time_base is not None:
            container.seek(max(0, int((times[0] - 1 / rate) / stream.time_base)), stream=stream)
        for frame in container.decode(stream):
            while len(made) < len(times) and abs(frame.time - times[len(made)]) < 0.5 / rate:
                made.append(frame.to_ndarray(format="rgb24"))
            if len(made) == len(times):
                return made
    raise ConfigError(f"{path} has {len(made)} of the {len(times)} frames that the episode needs: copy it anew")


def _derivative(values: NDArray[np.float32], period: float) -> NDArray[np.float32]:
    """Change a second, by the rows around each one."""
    if len(values) < 2:
        return np.zeros_like(values)
    return np.asarray(np.gradient(values, period, axis=0), dtype=np.float32)


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """A picture, shape (H, W, 3), RGB."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _read_info(directory: Path) -> dict[str, Any]:
    path = directory / "meta/info.json"
    try:
        info: dict[str, Any] = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{directory} is not a LeRobot dataset: {path} cannot be read ({error.strerror})") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from error
    if info.get("codebase_version") != VERSION:
        raise ConfigError(
            f"{directory} is LeRobot {info.get('codebase_version')}, expected {VERSION}; convert it first"
        )
    return info
