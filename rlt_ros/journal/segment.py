"""One file of a journal: MCAP that every ROS tool reads, on disk record by record."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from mcap.exceptions import McapError
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import Writer

from rlt_ros import __version__

SUFFIX = ".mcap"
_LARGEST_RECORD = 256 << 20
_DAMAGE = (McapError, ValueError, KeyError, OverflowError, MemoryError, EOFError)


@dataclass(frozen=True)
class Record:
    """One message as it was on the wire.

    Attributes:
        topic: full name.
        type: of the message, `package/msg/Name`.
        schema: its definition with all it contains, in ROS 2 message syntax.
        data: serialised (CDR).
        logged: when it was received, nanoseconds since 1970.
        published: its stamp, nanoseconds since 1970.
    """

    topic: str
    type: str
    schema: str
    data: bytes
    logged: int
    published: int


class _WholeRecords:
    """A file that holds whole records at any time: what cannot be written completely is taken back."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self.size = 0

    def tell(self) -> int:
        return self.size

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is buffered here."""

    def sync(self) -> None:
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)


class SegmentWriter:
    """Appends messages to a new file.

    Messages are not grouped in chunks: a process that is killed loses nothing that was appended, and a machine that
    loses power nothing that was there at the last `sync`.
    """

    def __init__(self, path: Path) -> None:
        """Create `path`.

        Raises:
            FileExistsError: it is there already.
            OSError: it cannot be written.
        """
        self.path = path
        self._file = _WholeRecords(path)
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        # The file has all that the writer needs of a stream.
        self._writer = Writer(self._file, use_chunking=False)  # type: ignore[arg-type]
        try:
            self._writer.start(profile="ros2", library=f"rlt_ros {__version__}")
        except OSError:
            self._file.close()
            path.unlink()
            raise

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._file.size

    def append(self, record: Record) -> None:
        """Write one message.

        Raises:
            OSError: the disk is full or not writable; the file ends with the last whole record, and must be closed
                without `finish`.
        """
        channel = self._channels.get(record.topic)
        if channel is None:
            if record.type not in self._schemas:
                self._schemas[record.type] = self._writer.register_schema(
                    record.type, "ros2msg", record.schema.encode()
                )
            channel = self._writer.register_channel(record.topic, "cdr", self._schemas[record.type])
            self._channels[record.topic] = channel
        number = self._counts[record.topic] = self._counts.get(record.topic, -1) + 1
        self._writer.add_message(channel, record.logged, record.data, record.published, number & 0xFFFFFFFF)

    def sync(self) -> None:
        """Bring everything to the disk itself.

        Raises:
            OSError: the disk failed.
        """
        self._file.sync()

    def finish(self) -> None:
        """Write the summary, so that tools find their way without reading everything; then close.

        Raises:
            OSError: there is no space for it; the file is complete without.
        """
        try:
            self._writer.finish()
            self._file.sync()
        finally:
            self._file.close()

    def abandon(self) -> None:
        """Close without a summary."""
        self._file.close()

    def __enter__(self) -> SegmentWriter:
        """Nothing more to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish, or leave it as it is after an error."""
        if kind is None:
            self.finish()
        else:
            self.abandon()


@dataclass
class Damage:
    """Where a file could not be read any further.

    Attributes:
        path: of the file.
        offset: bytes that could be read.
        size: bytes that are there.
        finished: the summary is there too: nothing is missing.
    """

    path: Path
    offset: int
    size: int
    finished: bool

    @property
    def lost(self) -> int:
        """Bytes that could not be read."""
        return 0 if self.finished else self.size - self.offset


class _Snapshot:
    """A file up to where it ended when it was opened.

    Its writer may be in the middle of a record: a reader that meets the end there and goes on a moment later would take
    two halves for one.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        self._left = self.size - file.tell()

    def read(self, size: int) -> bytes:
        data = self._file.read(max(0, min(size, self._left)))
        self._left -= len(data)
        return data


class SegmentReader:
    """Reads a file that may be written to meanwhile; a context manager.

    Attributes:
        path: of the file.
        state: how far it was read.
    """

    def __init__(self, path: Path) -> None:
        """Open `path`.

        Raises:
            OSError: it cannot be opened.
        """
        self.path = path
        self.state = Damage(path, 0, 0, False)
        self._file = path.open("rb")
        self._schemas: dict[int, tuple[str, str]] = {}
        self._channels: dict[int, Channel] = {}

    def __enter__(self) -> SegmentReader:
        """Nothing more to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def records(self) -> Iterator[Record]:
        """What came since the last call, in the order in which it was written, up to where the file ends now.

        Raises:
            OSError: the file cannot be read.
        """
        if self.state.finished:
            return
        offset, finished = self.state.offset, False
        self._file.seek(offset)
        snapshot = _Snapshot(self._file)
        reader = StreamReader(snapshot, skip_magic=offset > 0, record_size_limit=_LARGEST_RECORD)  # type: ignore[arg-type]
        try:
            for record in reader.records:
                if isinstance(record, Schema):
                    self._schemas[record.id] = (record.name, record.data.decode())
                elif isinstance(record, Channel):
                    self._channels[record.id] = record
                elif isinstance(record, Message):
                    channel = self._channels[record.channel_id]
                    name, text = self._schemas[channel.schema_id]
                    yield Record(channel.topic, name, text, record.data, record.log_time, record.publish_time)
                offset = self._file.tell()
            finished = True
        except Exception as error:
            # struct.error is no ValueError.
            if not isinstance(error, _DAMAGE) and type(error).__name__ != "error":
                raise
        self.state = Damage(self.path, offset, snapshot.size, finished)


def read_segment(path: Path) -> Iterator[Record | Damage]:
    """The messages of a file in the order in which they were written, however it ends; last its state as `Damage`.

    Raises:
        OSError: the file cannot be opened or read.
    """
    with SegmentReader(path) as reader:
        yield from reader.records()
        yield reader.state


def is_finished(path: Path) -> bool:
    """Whether a file has its summary: it ends with MCAP's magic bytes."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - 8))
        return size > 40 and file.read() == b"\x89MCAP0\r\n"


def repair(path: Path) -> Damage:
    """Give an unfinished file its summary: everything readable goes into a new one, which then takes its place.

    A damaged file is kept beside it under the name `<name>.damaged` where bytes could not be read.

    Raises:
        OSError: the disk is full or not writable; the file stays as it was.
    """
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    found: Damage | None = None
    try:
        with SegmentWriter(fresh) as writer:
            for item in read_segment(path):
                if isinstance(item, Damage):
                    found = item
                else:
                    writer.append(item)
        assert found is not None
        if found.lost:
            # Killed before the next line it is there already, and the same.
            shutil.copyfile(path, path.with_suffix(f"{SUFFIX}.damaged"))
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    fresh.replace(path)
    sync_directory(path.parent)
    return found


def sync_directory(directory: Path) -> None:
    """Make renames survive a loss of power."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
