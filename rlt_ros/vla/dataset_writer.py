"""Demonstrations to disk as a LeRobot v3 dataset: parquet files with encoded images inside, or videos beside them.

Each episode is one data file, written new and renamed: an interruption costs the running episode only. Beside the
usual features a frame holds `critical_phase` and `grounding` (see `Episode`).
"""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from rlt_ros.config import ConfigError
from rlt_ros.missing import remedy
from rlt_ros.types import GROUNDING, Episode

VERSION = "v3.0"
_CHUNK = 1000
_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEOS = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_HUMAN = "complementary_info.is_intervention"
"""As lerobot's HIL-SERL names it."""
_EPISODES = "meta/episodes/chunk-000/file-000.parquet"
_JPEG = {"quality": 95, "subsampling": 0}
IMAGES = "observation.images."
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
"""As lerobot names them; pi0.5 scales states and actions by the outer ones."""
_KEPT = 50_000
"""Rows of a feature that quantiles are computed from, at most."""


@dataclass(frozen=True)
class Contents:
    """What all episodes of a dataset share.

    Attributes:
        robot: the robot's name.
        joints: names in the order of states and actions.
        cameras: names in the order of the images.
        image_size: side of the square images, pixels.
        period: seconds between frames.
    """

    robot: str
    joints: tuple[str, ...]
    cameras: tuple[str, ...]
    image_size: int
    period: float


class DatasetWriter:
    """Writes a new dataset, episode by episode; usable as a context manager."""

    def __init__(self, directory: Path, contents: Contents, *, video: bool = False) -> None:
        """Create the directory.

        Args:
            directory: of the dataset.
            contents: what all episodes share.
            video: images become one video file an episode and camera (PyAV), a tenth of the size.

        Raises:
            ConfigError: the directory is not empty, or the period is not a whole number of frames a second.
        """
        if abs(1 / contents.period - round(1 / contents.period)) > 1e-3:
            raise ConfigError(
                f"a LeRobot dataset needs whole frames a second; a period of {contents.period} s has none"
            )
        if directory.exists() and any(directory.iterdir()):
            raise ConfigError(f"{directory} is not empty; choose another directory or remove it")
        self._directory, self._contents, self._video = directory, contents, video and bool(contents.cameras)
        self._features = _features(contents, video=video)
        self._episodes: list[dict[str, Any]] = []
        self._tasks: dict[str, int] = {}
        pixels = len(_pixels(np.zeros((1, contents.image_size, contents.image_size, 3), np.uint8)))
        self._stats = {
            name: _Statistics((3, 1, 1), pixels) if name.startswith(IMAGES) else _Statistics((-1,))
            for name, feature in self._features.items()
            if feature["dtype"] != "bool"
        }
        self.frames = 0
        (directory / "meta").mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> DatasetWriter:
        """Nothing more to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Everything is on disk already; a directory without any episode is removed."""
        if not self._episodes:
            shutil.rmtree(self._directory)

    def add(self, episode: Episode) -> None:
        """Write an episode and bring the metadata up to date.

        Raises:
            ValueError: it does not have an image for every tick, or its shapes are not those of the contents.
            OSError: the disk is full or not writable; the episodes before it stay readable.
        """
        contents, length = self._contents, len(episode.command)
        shape = (length, len(contents.cameras), contents.image_size, contents.image_size, 3)
        if episode.images.shape != shape or episode.command.shape[1] != len(contents.joints):
            raise ValueError(
                f"episode has images {episode.images.shape} and {episode.command.shape[1]} joints, "
                f"the dataset needs {shape} and {len(contents.joints)}"
            )
        index, task = len(self._episodes), self._tasks.setdefault(episode.instruction, len(self._tasks))
        success = np.arange(length) + 1 == episode.ticks
        columns: dict[str, Any] = {
            "observation.state": episode.position,
            "observation.velocity": episode.velocity,
            "action": episode.command.astype(np.float32),
            "critical_phase": episode.critical,
            _HUMAN: np.zeros(length, bool) if episode.human is None else episode.human,
            "grounding": episode.grounding,
            "next.reward": success.astype(np.float32),
            "next.success": success,
            "next.done": np.arange(length) == length - 1,
            "timestamp": (np.arange(length) * contents.period).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, index),
            "index": self.frames + np.arange(length),
            "task_index": np.full(length, task),
        }
        place = {"chunk_index": index // _CHUNK, "file_index": index % _CHUNK}
        for camera, name in enumerate(contents.cameras):
            if self._video:
                path = self._directory / _VIDEOS.format(video_key=IMAGES + name, **place)
                _write_video(episode.images[:, camera], round(1 / contents.period), path)
            else:
                columns[IMAGES + name] = [_encode(image) for image in episode.images[:, camera]]
        here: dict[str, _Statistics] = {}
        for name, whole in self._stats.items():
            if name.startswith(IMAGES):
                rows = _pixels(episode.images[::25, contents.cameras.index(name.removeprefix(IMAGES))])
            else:
                rows = np.asarray(columns[name], dtype=np.float64).reshape(length, -1)
            here[name] = _Statistics(whole.shape, whole.pixels)
            for statistics in (whole, here[name]):
                statistics.add(rows)
        stored = {name: feature for name, feature in self._features.items() if feature["dtype"] != "video"}
        arrays = [_array(columns[name], feature) for name, feature in stored.items()]
        _write_table(pa.table(arrays, names=list(stored)), self._directory / _DATA.format(**place))
        videos: dict[str, Any] = {}
        for name in contents.cameras if self._video else ():
            key = f"videos/{IMAGES}{name}"
            videos |= {f"{key}/chunk_index": place["chunk_index"], f"{key}/file_index": place["file_index"]}
            videos |= {f"{key}/from_timestamp": 0.0, f"{key}/to_timestamp": length * contents.period}
        self._episodes.append(
            {
                "episode_index": index,
                "tasks": [episode.instruction],
                "length": length,
                "data/chunk_index": place["chunk_index"],
                "data/file_index": place["file_index"],
                **videos,
                "dataset_from_index": self.frames,
                "dataset_to_index": self.frames + length,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
                "task_name": episode.task,
                "setting": episode.setting,
                "success": bool(episode.ticks),
                **{
                    f"stats/{name}/{figure}": value
                    for name, statistics in here.items()
                    if name != "grounding"  # which may be unknown for whole episodes
                    for figure, value in statistics.result().items()
                },
            }
        )
        self.frames += length
        self._write_metadata()

    def _write_metadata(self) -> None:
        directory, contents = self._directory, self._contents
        _write_table(pa.Table.from_pylist(self._episodes), directory / _EPISODES)
        tasks = pa.table({"task_index": list(self._tasks.values()), "task": list(self._tasks)})
        # LeRobot reads this file with pandas and expects the sentences as its index.
        text = {"pandas_type": "unicode", "numpy_type": "object", "metadata": None}
        number = {"pandas_type": "int64", "numpy_type": "int64", "metadata": None}
        pandas = {
            "index_columns": ["task"],
            "column_indexes": [],
            "columns": [
                {**number, "name": "task_index", "field_name": "task_index"},
                {**text, "name": "task", "field_name": "task"},
            ],
            "pandas_version": "2.0.0",
        }
        _write_table(tasks.replace_schema_metadata({"pandas": json.dumps(pandas)}), directory / "meta/tasks.parquet")
        # A feature without a single value (no ground truth) would have empty figures, which lerobot cannot merge.
        stats = {name: statistics.result() for name, statistics in self._stats.items() if statistics.count}
        _write_json(stats, directory / "meta/stats.json")
        info = {
            "codebase_version": VERSION,
            "robot_type": contents.robot,
            "fps": round(1 / contents.period),
            "total_episodes": len(self._episodes),
            "total_frames": self.frames,
            "total_tasks": len(self._tasks),
            "chunks_size": _CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": _DATA,
            "video_path": _VIDEOS if self._video else None,
            "features": self._features,
        }
        _write_json(info, directory / "meta/info.json")


class _Statistics:
    """Minimum, maximum, mean, deviation and quantiles of a feature, taken up piece by piece."""

    def __init__(self, shape: tuple[int, ...], pixels: int = 1) -> None:
        """Nothing was taken up yet.

        Args:
            shape: in which figures are given.
            pixels: rows that one picture gives: pictures count once, whatever their number of pixels.
        """
        self.shape, self.pixels = shape, pixels
        self.count = 0
        self._low = self._high = self._sum = self._square = np.zeros(0)
        self._some: NDArray[np.float64] | None = None
        self._every = 1

    def add(self, rows: NDArray[np.float64]) -> None:
        """More rows, shape (n, columns); those with a value that is not finite are left out."""
        rows = rows[np.isfinite(rows).all(1)]
        if not len(rows):
            return
        low, high, total, square = rows.min(0), rows.max(0), rows.sum(0), (rows**2).sum(0)
        if self.count:
            low, high = np.minimum(low, self._low), np.maximum(high, self._high)
            total, square = total + self._sum, square + self._square
        some = rows[-self.count % self._every :: self._every]
        self._some = some if self._some is None else np.concatenate([self._some, some])
        while len(self._some) > _KEPT:
            self._some, self._every = self._some[::2], 2 * self._every
        self.count += len(rows)
        self._low, self._high, self._sum, self._square = low, high, total, square

    def result(self) -> dict[str, Any]:
        """The figures, as lerobot names them; quantiles of every n-th row where there are many.

        Raises:
            ValueError: there are no rows.
        """
        if self._some is None:
            raise ValueError("no rows, no figures")
        mean = self._sum / self.count
        deviation = np.sqrt(np.maximum(self._square / self.count - mean**2, 0))
        values = {"min": self._low, "max": self._high, "mean": mean, "std": deviation}
        values |= dict(zip(_QUANTILES, np.quantile(self._some, list(_QUANTILES.values()), axis=0), strict=True))
        figures = {name: value.reshape(self.shape).tolist() for name, value in values.items()}
        return {**figures, "count": [self.count // self.pixels]}


def _pixels(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Some of the pixels of some pictures, from 0 to 1, shape (n, 3)."""
    return images.reshape(len(images), -1, 3)[:, ::7].reshape(-1, 3).astype(np.float64) / 255


def _features(contents: Contents, *, video: bool) -> dict[str, dict[str, Any]]:
    joints, size = list(contents.joints), contents.image_size
    vector = {"dtype": "float32", "shape": [len(joints)], "names": joints}
    image = {"dtype": "image", "shape": [size, size, 3], "names": ["height", "width", "channels"]}
    if video:
        figures = {"height": size, "width": size, "codec": "h264", "pix_fmt": "yuv420p", "is_depth_map": False}
        figures |= {"fps": round(1 / contents.period), "channels": 3}
        info = {f"video.{name}": value for name, value in figures.items()}
        image = {**image, "dtype": "video", "info": {**info, "has_audio": False}}
    one = {"shape": [1], "names": None}
    grounding = ["tip_x", "tip_y", "tip_z", "axis_y", "axis_z"]
    return {
        "observation.state": vector,
        "observation.velocity": vector,
        "action": vector,
        **{IMAGES + name: image for name in contents.cameras},
        "critical_phase": {"dtype": "bool", **one},
        _HUMAN: {"dtype": "bool", **one},
        "grounding": {"dtype": "float32", "shape": [GROUNDING], "names": grounding},
        "next.reward": {"dtype": "float32", **one},
        "next.success": {"dtype": "bool", **one},
        "next.done": {"dtype": "bool", **one},
        "timestamp": {"dtype": "float32", **one},
        **{name: {"dtype": "int64", **one} for name in ("frame_index", "episode_index", "index", "task_index")},
    }


def _array(values: Any, feature: dict[str, Any]) -> pa.Array:
    if feature["dtype"] == "image":
        return pa.array(values, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    kind = {"float32": pa.float32(), "int64": pa.int64(), "bool": pa.bool_()}[feature["dtype"]]
    size = feature["shape"][0]
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), kind)
    return flat if size == 1 else pa.FixedSizeListArray.from_arrays(flat, size)


def _encode(image: NDArray[np.uint8]) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg", **_JPEG)
    return {"bytes": buffer.getvalue(), "path": None}


def _write_video(images: NDArray[np.uint8], rate: int, path: Path) -> None:
    """H.264, with so many key frames that single frames are found quickly."""
    try:
        import av
    except ImportError as error:
        raise ConfigError(f"videos are written by PyAV: {remedy(error, 'adapt')}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new.mp4")
    try:
        with av.open(str(fresh), "w") as container:
            stream = container.add_stream("libx264", rate=rate, options={"crf": "18", "g": "2", "preset": "fast"})
            stream.height, stream.width, stream.pix_fmt = images.shape[1], images.shape[2], "yuv420p"
            stream.thread_count = 1
            for image in images:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
            container.mux(stream.encode())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _write_table(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    try:
        pq.write_table(table, fresh)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _write_json(data: Any, path: Path) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(data, indent=2))
    fresh.replace(path)
