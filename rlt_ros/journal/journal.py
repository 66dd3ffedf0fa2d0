"""A journal: a directory of segments in the order of their names."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from rlt_ros.journal.segment import (
    SUFFIX,
    Damage,
    Record,
    SegmentReader,
    SegmentWriter,
    is_finished,
    repair,
    sync_directory,
)

_LOCK = ".lock"
_LOCK_WITHIN = 0.5
_LOOKS = 5
"""At a file that grows while it is read: whoever takes longer for a message than the next one takes to come would never
be done."""
_RETRY_AFTER = 1.0
"""Seconds between two attempts to write to a disk that is full or broken."""


class JournalError(ValueError):
    """A journal cannot be written or read. The message says what to do."""


def segments(directory: Path) -> list[Path]:
    """The files of a journal, oldest first."""
    return sorted(path for path in directory.glob(f"*{SUFFIX}") if path.stem.isdigit())


def size_of(directory: Path) -> int:
    """Bytes of all files of a journal."""
    return sum(path.stat().st_size for path in directory.iterdir() if path.is_file()) if directory.is_dir() else 0


def is_being_written(directory: Path) -> bool:
    """Whether a process records to a journal now."""
    try:
        handle = os.open(directory / _LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def read_journal(
    directory: Path,
    topics: Collection[str] = (),
    damaged: Callable[[Damage], None] = lambda _: None,
    done: Callable[[int], None] = lambda _: None,
) -> Iterator[Record]:
    """Every message of a journal in the order in which it was written, up to the newest.

    Args:
        directory: of the journal; it may be written to meanwhile.
        topics: last parts of the names of the topics that are wanted; empty: all.
        damaged: called for every segment of which bytes could not be read.
        done: called with the number of bytes of every segment that was read.

    Raises:
        OSError: a file cannot be read.
    """
    path = _following(directory, None)
    while path is not None:
        with SegmentReader(path) as reader:
            for _ in range(_LOOKS):
                # Asked before its end is met: a file that has a successor does not grow any more.
                successor = _following(directory, path)
                grew = False
                for record in reader.records():
                    grew = True
                    if not topics or record.topic.rsplit("/", 1)[-1] in topics:
                        yield record
                if successor is not None or not grew:
                    break
            done(reader.state.size)
            if reader.state.lost:
                damaged(reader.state)
        path = successor


def _following(directory: Path, path: Path | None) -> Path | None:
    return next((other for other in segments(directory) if path is None or other > path), None)


class JournalWriter:
    """Appends messages to a journal; only one process can.

    A full disk never raises: messages are counted as lost until there is space again.
    """

    def __init__(self, directory: Path, segment_bytes: int = 64 << 20) -> None:
        """Open or create the journal; what an earlier writer left unfinished is repaired.

        Args:
            directory: of the journal.
            segment_bytes: size from which on `rotate` begins a new file.

        Raises:
            JournalError: another process writes to it.
            OSError: the directory cannot be made.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.records = 0
        self.lost = 0
        self.problem = ""
        self.repaired: list[Damage] = []
        self._segment_bytes = segment_bytes
        self._segment: SegmentWriter | None = None
        self._dirty = False
        self._thread = ThreadPoolExecutor(1, "journal")
        self._syncing: Future[None] | None = None
        self._retry_at = 0.0
        self._lock = _locked(directory)
        for path in segments(directory):
            if not is_finished(path):
                try:
                    self.repaired.append(repair(path))
                except OSError as error:
                    self.problem = f"{path.name} could not be repaired: {error.strerror}"
        self._closed_bytes = size_of(directory)

    @property
    def size(self) -> int:
        """Bytes of the journal on disk."""
        return self._closed_bytes + (self._segment.size if self._segment else 0)

    @property
    def segment(self) -> Path | None:
        """The file that is being written."""
        return self._segment.path if self._segment else None

    def append(self, record: Record) -> bool:
        """Write a message; False if it was lost, see `problem`."""
        try:
            if self._segment is None:
                if time.monotonic() < self._retry_at:
                    self.lost += 1
                    return False
                self._segment = SegmentWriter(self._next_path())
                sync_directory(self.directory)
            self._segment.append(record)
        except OSError as error:
            self.lost += 1
            self._failed(error)
            return False
        self.problem = ""
        self.records += 1
        self._dirty = True
        return True

    def rotate(self) -> None:
        """A good moment for a new file: begin one if this one is large enough."""
        if self._segment is not None and self._segment.size >= self._segment_bytes:
            self._close_segment()

    def sync(self) -> None:
        """Bring everything to the disk itself, in a thread: a slow one does not keep the caller from listening.

        A failure is noticed by the next call, and what was appended meanwhile is brought to the disk by it.
        """
        if self._syncing is not None:
            if not self._syncing.done():
                return
            error = self._wait_for_sync()
            if error is not None:
                self._failed(error)
        if self._segment is not None and self._dirty:
            self._dirty = False
            self._syncing = self._thread.submit(self._segment.sync)

    def _wait_for_sync(self) -> OSError | None:
        """A file is not closed while it is brought to the disk; the error of that."""
        syncing, self._syncing = self._syncing, None
        try:
            if syncing is not None:
                syncing.result()
        except OSError as error:
            return error
        return None

    def close(self) -> None:
        """Finish; others may write to the journal from now on."""
        self._close_segment()
        self._thread.shutdown()
        os.close(self._lock)

    def _close_segment(self) -> None:
        self._wait_for_sync()
        segment, self._segment = self._segment, None
        if segment is None:
            return
        try:
            segment.finish()
        except OSError as error:
            self.problem = _text(error)
        self._closed_bytes += segment.size

    def _failed(self, error: OSError) -> None:
        """What was written stays; a new file is tried a little later."""
        self.problem = _text(error)
        self._retry_at = time.monotonic() + _RETRY_AFTER
        self._wait_for_sync()
        segment, self._segment = self._segment, None
        if segment is not None:
            self._closed_bytes += segment.size
            segment.abandon()

    def _next_path(self) -> Path:
        existing = segments(self.directory)
        number = int(existing[-1].stem) + 1 if existing else 1
        return self.directory / f"{number:06d}{SUFFIX}"


def _locked(directory: Path) -> int:
    handle = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + _LOCK_WITHIN
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except OSError as error:
            if time.monotonic() < deadline:  # `is_being_written` holds it for a moment
                time.sleep(0.05)
                continue
            os.close(handle)
            raise JournalError(
                f"another process records to {directory}: stop it, or choose another directory"
            ) from error


def _text(error: OSError) -> str:
    return "the disk is full" if error.errno == errno.ENOSPC else f"cannot write: {error.strerror}"
