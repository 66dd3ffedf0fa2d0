"""The journal: whatever happens to the process, the disk or the file, what was written is read back."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlt_ros.journal.journal import JournalError, JournalWriter, is_being_written, read_journal, segments, size_of
from rlt_ros.journal.segment import Damage, Record, SegmentWriter, is_finished, read_segment, repair
from rlt_ros.journal.selection import Selection
from rlt_ros.journal.space import Space, SpaceLimits, judge

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def record(k: int, topic: str = "/rlt/step", size: int = 100) -> Record:
    data = np.random.default_rng(k).bytes(size)
    return Record(topic, "rlt_ros/msg/Test", "uint8[] data\n", data, START + k * SECOND // 50, START + k * SECOND // 50)


def written(directory: Path, count: int, segment_bytes: int = 1 << 20) -> list[Record]:
    records = [record(k, ("/rlt/step", "/rlt/policy_input")[k % 2], 50 + k % 70) for k in range(count)]
    writer = JournalWriter(directory, segment_bytes)
    for item in records:
        assert writer.append(item)
        writer.rotate()
    writer.close()
    return records


def read(path: Path) -> tuple[list[Record], Damage]:
    *records, state = read_segment(path)
    assert isinstance(state, Damage)
    return [item for item in records if isinstance(item, Record)], state


# -- reading back --------------------------------------------------------------------------------------------


def test_what_was_written_is_read_in_order_over_several_files(tmp_path: Path) -> None:
    records = written(tmp_path, 300, segment_bytes=5000)
    assert len(segments(tmp_path)) > 3
    assert all(is_finished(path) for path in segments(tmp_path))
    assert list(read_journal(tmp_path)) == records
    assert list(read_journal(tmp_path, ("policy_input",))) == records[1::2]


def test_a_journal_that_is_being_written_is_read_up_to_its_newest_message(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    for k in range(10):
        writer.append(record(k))
    assert list(read_journal(tmp_path)) == [record(k) for k in range(10)]
    writer.append(record(10))
    assert len(list(read_journal(tmp_path))) == 11
    assert is_being_written(tmp_path)
    writer.close()
    assert not is_being_written(tmp_path)


def test_what_is_written_while_a_journal_is_read_is_read_too_also_in_a_file_that_got_a_successor(
    tmp_path: Path,
) -> None:
    """A learner that rebuilt its replay while the recorder began a new file lacked what came before that: for good."""
    writer = JournalWriter(tmp_path, segment_bytes=5000)
    count = 0

    def write(until: int) -> None:
        nonlocal count
        while count < until:
            writer.append(record(count))
            count += 1

    write(10)
    found = []
    for item in read_journal(tmp_path):
        found.append(item)
        if len(found) == 5:
            write(60)
            writer.rotate()
            write(70)
            assert len(segments(tmp_path)) == 2
        elif len(found) >= 70:
            write(min(count + 3, 100))
    assert count == 100
    assert found == [record(k) for k in range(count)]
    writer.close()


def test_a_reader_that_is_slower_than_the_writer_comes_to_an_end(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    writer.append(record(0))
    count = 1
    for item in read_journal(tmp_path):
        assert item == record(count // 2)
        for _ in range(2):
            writer.append(record(count))
            count += 1
        assert count < 1000
    writer.close()


def test_only_one_process_writes(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    with pytest.raises(JournalError, match="another process records"):
        JournalWriter(tmp_path)
    writer.close()
    JournalWriter(tmp_path).close()


# -- damage --------------------------------------------------------------------------------------------------


def test_cut_at_200_random_places_everything_before_the_cut_is_recovered(tmp_path: Path) -> None:
    """As the disk has it after a loss of power: the file ends anywhere."""
    records = written(tmp_path / "whole", 400)
    (whole,) = segments(tmp_path / "whole")
    data = whole.read_bytes()
    rng = np.random.default_rng(0)
    for cut in sorted({0, 1, 8, len(data) - 1, *rng.integers(0, len(data), 200).tolist()}):
        directory = tmp_path / f"cut-{cut}"
        directory.mkdir()
        path = directory / "000001.mcap"
        path.write_bytes(data[:cut])
        found, state = read(path)
        assert found == records[: len(found)]
        # The next message, had it been whole, would have been found: it takes at least its data and 31 bytes.
        if len(found) < len(records):
            assert not state.finished
            assert cut - state.offset < len(records[len(found)].data) + 31 + 1000
        # A recorder that starts again repairs the file and goes on in a new one.
        writer = JournalWriter(directory)
        writer.append(record(1000))
        writer.close()
        assert list(read_journal(directory)) == [*found, record(1000)]
        assert all(is_finished(path) for path in segments(directory))
        if state.lost:
            assert (directory / "000001.mcap.damaged").read_bytes() == data[:cut], "nothing is thrown away"


@given(st.data())
def test_flipped_bytes_never_stop_the_reader(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("flipped")
    records = written(directory, 30)
    (path,) = segments(directory)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    found, _ = read(path)
    assert len(found) <= len(records)


def test_a_record_that_is_being_written_is_not_read_in_halves(tmp_path: Path) -> None:
    path = tmp_path / "000001.mcap"
    records = [record(k, size=20_000) for k in range(3)]
    with SegmentWriter(path) as writer:
        for item in records:
            writer.append(item)
    content = path.read_bytes()
    cut = content.index(records[2].data) + 9_000
    path.write_bytes(content[:cut])
    reader = read_segment(path)
    found = [next(reader)]
    with path.open("ab") as file:  # the writer's other half, while somebody reads
        file.write(content[cut:])
    found += [item for item in reader if isinstance(item, Record)]
    assert found == records[:2]
    assert [item for item in read_segment(path) if isinstance(item, Record)] == records


def test_repair_that_finds_no_space_leaves_the_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SegmentWriter(tmp_path / "000001.mcap")
    for k in range(20):
        writer.append(record(k))
    writer.abandon()
    before = (tmp_path / "000001.mcap").read_bytes()
    with full_after(monkeypatch, 1500), pytest.raises(OSError, match="No space"):
        repair(tmp_path / "000001.mcap")
    assert [path.name for path in tmp_path.iterdir()] == ["000001.mcap"]
    assert (tmp_path / "000001.mcap").read_bytes() == before
    assert repair(tmp_path / "000001.mcap").lost == 0
    assert read(tmp_path / "000001.mcap")[0] == [record(k) for k in range(20)]


KILLED = """
import sys, time
from pathlib import Path
from rlt_ros.journal.journal import JournalWriter
from rlt_ros.journal.segment import Record
writer = JournalWriter(Path(sys.argv[1]))
for k in range(10**9):
    writer.append(Record("/rlt/step", "rlt_ros/msg/Test", "uint8[] data\\n", b"x" * 300, k, k))
    print(k, flush=True)
"""


def test_a_killed_recorder_loses_nothing_that_it_had_written(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) > 2000:
            break
    os.kill(process.pid, signal.SIGKILL)
    said = int((process.stdout.read().split() or [line])[-1])
    process.wait()
    found = list(read_journal(tmp_path))
    assert len(found) >= said
    assert [item.logged for item in found] == list(range(len(found)))


# -- a full disk ---------------------------------------------------------------------------------------------


class full_after:
    """os.write has so many bytes left; what does not fit is written in part, as a real disk does it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, space: int) -> None:
        self._monkeypatch, self.space = monkeypatch, space

    def __enter__(self) -> full_after:
        real = os.write

        def write(handle: int, data: bytes) -> int:
            if self.space <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            done = real(handle, bytes(data)[: self.space])
            self.space -= done
            return done

        self._context = self._monkeypatch.context()
        patch = self._context.__enter__()
        patch.setattr(os, "write", write)
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(None, None, None)


def test_a_full_disk_costs_messages_but_neither_the_file_nor_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlt_ros.journal.journal._RETRY_AFTER", 0.0)
    writer = JournalWriter(tmp_path)
    with full_after(monkeypatch, 3000) as disk:
        kept = [k for k in range(50) if writer.append(record(k))]
        assert kept == list(range(len(kept)))
        assert 5 < len(kept) < 50
        assert writer.lost == 50 - len(kept)
        assert writer.problem == "the disk is full"
        disk.space = 1 << 20
        assert writer.append(record(50))
        assert not writer.problem
    writer.close()
    assert list(read_journal(tmp_path)) == [*(record(k) for k in kept), record(50)]
    assert len(segments(tmp_path)) == 2, "attempts that failed leave no empty files"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    path = tmp_path / "small"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(path)], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system; os.write is made to fail in another test")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_real_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlt_ros.journal.journal._RETRY_AFTER", 0.0)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(900_000))
    writer = JournalWriter(small_disk / "journal")
    kept = [k for k in range(600) if writer.append(record(k, size=1000))]
    assert 20 < len(kept) < 600
    assert writer.lost == 600 - len(kept)
    writer.sync()
    filler.unlink()
    assert writer.append(record(600))
    writer.close()
    JournalWriter(small_disk / "journal").close()  # repairs what has no summary
    found = list(read_journal(small_disk / "journal"))
    assert found == [*(record(k, size=1000) for k in kept), record(600)]
    assert all(is_finished(path) for path in segments(small_disk / "journal"))


def test_a_slow_disk_does_not_keep_the_recorder_from_listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had not read yet when it was killed would be lost with its publisher."""
    let, begun = threading.Event(), threading.Event()
    real = os.fdatasync

    def slow(handle: int) -> None:
        begun.set()
        assert let.wait(10)
        real(handle)

    monkeypatch.setattr("rlt_ros.journal.segment.os.fdatasync", slow)
    writer = JournalWriter(tmp_path)
    records = [record(k) for k in range(20)]
    for number, item in enumerate(records):
        assert writer.append(item)
        writer.sync()
        if number == 0:
            assert begun.wait(10)
    assert list(read_journal(tmp_path)) == records, "all of it would survive the process"
    let.set()
    writer.close()
    assert all(is_finished(path) for path in segments(tmp_path))


def test_a_disk_that_fails_beside_is_noticed_and_a_new_file_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    writer = JournalWriter(tmp_path)
    assert writer.append(record(0))
    monkeypatch.setattr("rlt_ros.journal.segment.os.fdatasync", fail)
    monkeypatch.setattr("rlt_ros.journal.journal._RETRY_AFTER", 0.0)
    deadline = time.monotonic() + 10
    while not writer.problem:
        assert time.monotonic() < deadline
        writer.sync()
    monkeypatch.undo()
    assert "cannot write" in writer.problem
    assert writer.append(record(1))
    writer.sync()
    writer.close()
    assert list(read_journal(tmp_path)) == [record(0), record(1)]


def test_a_full_disk_is_tried_again_a_little_later_not_with_every_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalWriter(tmp_path)
    with full_after(monkeypatch, 0):
        began = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: began)
        assert not any(writer.append(record(k)) for k in range(1000))
        assert writer.lost == 1000
    monkeypatch.setattr(time, "monotonic", lambda: began + 5.0)
    assert writer.append(record(0))
    writer.close()


# -- space ---------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**10), st.integers(0, 10**11))
def test_images_stop_first_then_everything(free: int, used: int, reserve: int, budget: int) -> None:
    limits = SpaceLimits(reserve, budget)
    space, told = judge(limits, free, used)
    if free < reserve or (budget and used >= budget):
        assert space is Space.NONE
    else:
        assert space is not Space.NONE
        assert (space is Space.AMPLE) == (free >= 2 * reserve and not (budget and used >= 0.8 * budget))
    assert ("recorded" in told) == (space is not Space.AMPLE)
    worse, _ = judge(limits, max(0, free - 10**9), used + 10**9)
    assert worse >= space, "less space never allows more"


def test_the_size_of_a_journal_is_what_lies_on_the_disk(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, 4000)
    for k in range(100):
        writer.append(record(k))
        writer.rotate()
        assert abs(writer.size - size_of(tmp_path)) < 10_000
    writer.close()
    assert size_of(tmp_path / "nothing") == 0


# -- what is recorded ----------------------------------------------------------------------------------------


@given(st.lists(st.integers(-3, 3), min_size=20, max_size=20))
def test_every_input_that_a_recorded_step_names_is_recorded_once_whatever_the_order(delays: list[int]) -> None:
    """Ticks 100 to 139 are critical, each flown from the newest input; inputs arrive early or late by some ticks."""
    arrivals: list[tuple[float, Record, bool]] = []
    for k in range(200):
        arrivals.append((k, record(k), 100 <= k < 140))
        if k % 2 == 0:
            arrivals.append((k + delays[k // 2 % 20] + 0.5, record(k, "/rlt/policy_input"), False))
    selection, out = Selection(), []
    for _, item, wanted in sorted(arrivals, key=lambda arrival: arrival[0]):
        out += selection.step(item, wanted) if item.topic == "/rlt/step" else selection.beside(item)
    steps = [(item.published - START) * 50 // SECOND for item in out if item.topic == "/rlt/step"]
    inputs = [(item.published - START) * 50 // SECOND for item in out if item.topic == "/rlt/policy_input"]
    assert steps == list(range(100, 140))
    assert len(inputs) == len(set(inputs))
    assert set(range(98, 140, 2)) <= set(inputs)
    assert min(inputs) >= 50, "what is long ago is not"
    assert max(inputs) <= 165


@settings(max_examples=20)
@given(st.permutations(["/rlt/step", "/rlt/policy_input"]), st.integers(0, 999))
def test_a_recorder_that_starts_again_gets_one_topic_after_the_other(order: list[str], seed: int) -> None:
    """20 s of history with two critical phases in it."""
    critical = [*range(100, 300), *range(600, 800)]
    arrivals = [record(k, topic) for topic in order for k in range(0, 1000, 1 if topic == "/rlt/step" else 2)]
    # What is published meanwhile comes in between.
    rng = np.random.default_rng(seed)
    selection, out = Selection(), []
    for item in arrivals:
        tick = (item.published - START) * 50 // SECOND
        out += selection.step(item, tick in critical) if item.topic == "/rlt/step" else selection.beside(item)
        if rng.random() < 0.01:
            out += selection.beside(record(1000 + int(rng.integers(50)) * 2, "/rlt/images"))
    inputs = [(item.published - START) * 50 // SECOND for item in out if item.topic == "/rlt/policy_input"]
    steps = [(item.published - START) * 50 // SECOND for item in out if item.topic == "/rlt/step"]
    assert steps == critical
    assert len(inputs) == len(set(inputs))
    assert {k for k in critical if k % 2 == 0} <= set(inputs)
    if order[0] == "/rlt/policy_input":
        assert len(inputs) < 500 - 50, "what belongs to no phase is not recorded"


@pytest.mark.parametrize("back", [1, 60, 3600])
def test_a_clock_that_is_set_back_in_mid_phase_costs_no_input_and_no_memory(back: int) -> None:
    """100 s of one critical phase; after ten of them the clock goes back by so many seconds."""
    selection, out, kept = Selection(), [], 0
    for k in range(5000):
        shift = back * SECOND if k >= 500 else 0
        for topic in ("/rlt/policy_input", "/rlt/step") if k % 2 == 0 else ("/rlt/step",):
            item = record(k, topic)
            item = dataclasses.replace(item, published=item.published + 10_000 * SECOND - shift)
            out += selection.step(item, True) if topic == "/rlt/step" else selection.beside(item)
        kept = max(kept, len(selection._recent))
    assert sum(item.topic == "/rlt/step" for item in out) == 5000
    assert sum(item.topic == "/rlt/policy_input" for item in out) >= 2500 - 1
    assert kept < 1500
