"""Runs on disk: going on with them, listing, exporting; what does not fit is refused by name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as Picture
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage

from rlt_ros import msg
from rlt_ros.bringup.graph import Bringup
from rlt_ros.bringup.runs import episodes, list_runs, resumed, write_record, write_summary
from rlt_ros.cli import main
from rlt_ros.config import ConfigError, from_mapping
from rlt_ros.journal.journal import JournalWriter
from rlt_ros.journal.segment import Record
from rlt_ros.rl.config import LearnerParameters, settings
from rlt_ros.ros.fields import floats, octets, to_stamp
from rlt_ros.ros.records import definition, message_of, stamp_of
from rlt_ros.types import Outcome
from rlt_ros.vla.bundle import load_bundle

BUNDLE = load_bundle(Bringup().bundle_path)
JOINTS = len(BUNDLE.joints)
CAMERAS = ("base", "left_wrist")
SIZE = 32


def record(topic: str, message: object) -> Record:
    data = serialize_message(message)
    name = f"{type(message).__module__.split('.')[0]}/msg/{type(message).__name__}"
    return Record(f"/rlt/{topic}", name, definition(name), data, stamp_of(data), stamp_of(data))


def jpeg(path: Path, shade: int) -> bytes:
    Picture.fromarray(np.full((SIZE, SIZE, 3), shade, np.uint8)).save(path, "jpeg", quality=95)
    return path.read_bytes()


def fly(run: Path, *, images: bool = False, epoch: int = 5) -> None:
    """Three episodes of 50 ticks: a success, a failure that was relabelled a success, one that never ended."""
    writer, sequence = JournalWriter(run / "journal"), 0
    for episode in (1, 2, 3):
        for tick in range(50):
            now = 1000.0 + sequence * 0.02
            if images and tick % 2 == 0:
                for camera in CAMERAS:
                    shown = CompressedImage(format="jpeg", data=octets(jpeg(run / "picture.jpg", 4 * tick)))
                    shown.header.stamp = to_stamp(now)
                    writer.append(record(f"{camera}/color/image_raw/compressed", shown))
            step = msg.ControlStep(robot="/rlt", sequence=sequence, epoch=epoch, episode=episode)
            step.phase, step.state = msg.SessionState.PHASE_CRITICAL, msg.ControlStep.STATE_HUMAN if tick > 30 else 2
            step.header.stamp = to_stamp(now)
            step.command = step.position = step.previous = floats(np.full(JOINTS, tick * 1e-3))
            step.velocity = floats(np.zeros(JOINTS))
            writer.append(record("step", step))
            sequence += 1
        for kind, outcome in ((msg.EpisodeEvent.KIND_END, episode), (msg.EpisodeEvent.KIND_LABEL, 1)):
            event = msg.EpisodeEvent(
                robot="/rlt", epoch=epoch, episode=episode, kind=kind, outcome=outcome, duration=1.0
            )
            event.header.stamp = to_stamp(now)
            if episode < 3 and (kind == msg.EpisodeEvent.KIND_END or episode == 2):
                writer.append(record("episode", event))
    writer.close()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "20260101-000000-sim-ethernet"
    bringup = Bringup(run_dir=path, seed=3, human="simulated", settings={"session_node.time_limit": 7.0})
    write_record(bringup, bringup.nodes(), ["up", "sim"])
    fly(path)
    return path


# -- going on ------------------------------------------------------------------------------------------------


def test_a_run_is_gone_on_with_as_it_was_but_for_what_is_given_anew(run: Path) -> None:
    again = resumed(Bringup(settings={"vla_node.threads": 2}), run)
    assert again.run_dir == run.absolute()
    assert again.episodes_before == 2
    assert again.epoch_before == 5
    assert (again.task_name, again.seed, again.human) == ("ethernet", 3, "simulated")
    assert again.settings == {"session_node.time_limit": 7.0, "vla_node.threads": 2}
    assert again.config_path == run / "parameters.yaml"
    specs = {spec.name: spec for spec in again.nodes()}
    assert specs["learner_node"].parameters["journal_dir"] == str(run / "journal")
    assert specs["session_node"].parameters["episodes_before"] == 2


def test_every_life_is_written_down_and_nothing_is_overwritten(run: Path) -> None:
    write_summary(run, {"episodes": 2})
    again = resumed(Bringup(), run)
    write_record(again, again.nodes(), ["up", "sim", "--resume", str(run)])
    write_summary(run, {"episodes": 5})
    told = json.loads((run / "run.json").read_text())
    assert told["command"] == ["rlt", "up", "sim"]
    assert [life["episodes_before"] for life in told["resumed"]] == [2]
    assert json.loads((run / "summary-1.json").read_text()) == {"episodes": 2}
    assert json.loads((run / "summary.json").read_text()) == {"episodes": 5}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (Bringup(target="robot"), "a run of 'sim', not of 'robot'"),
        (Bringup(task="charger"), "learnt task 'ethernet', not 'charger'"),
    ],
)
def test_another_target_or_task_is_refused(given: Bringup, told: str, run: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        resumed(given, run)


def test_another_bundle_is_refused(run: Path) -> None:
    told = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**told, "bundle_id": "small_aloha-000000000000"}))
    with pytest.raises(ConfigError, match=f"flown with bundle small_aloha-000000000000, .* is {BUNDLE.id}"):
        resumed(Bringup(), run)


def test_a_running_run_and_what_is_no_run_are_refused(run: Path, tmp_path: Path) -> None:
    writer = JournalWriter(run / "journal")
    with pytest.raises(ConfigError, match="is still running"):
        resumed(Bringup(), run)
    writer.close()
    with pytest.raises(ConfigError, match="is no run"):
        resumed(Bringup(), tmp_path / "nowhere")
    (run / "run.json").write_text('{"command": ["rlt", "tra')
    with pytest.raises(ConfigError, match="is damaged"):
        resumed(Bringup(), run)
    (run / "run.json").write_text('{"command": ["rlt", "train"]}')
    with pytest.raises(ConfigError, match="made by 'rlt train'"):
        resumed(Bringup(), run)


def test_a_changed_learner_is_refused_before_anything_moves(run: Path) -> None:
    newest = run / "checkpoints" / "step-000000007"
    newest.mkdir(parents=True)
    learnt = from_mapping(LearnerParameters, Bringup().parameters("learner_node"), "learner_node")
    described = {"config": settings(learnt), "layout": {"chunk": 10, "stride": 2}}
    (newest / "checkpoint.json").write_text(json.dumps(described))
    assert resumed(Bringup(seed=8, settings={"learner_node.update_ratio": 0.25}), run).seed == 8
    with pytest.raises(ConfigError, match=f"batch {learnt.batch} -> 7"):
        resumed(Bringup(settings={"learner_node.batch": 7}), run)
    with pytest.raises(ConfigError, match="stride 2 -> 1"):
        resumed(Bringup(settings={"learner_node.stride": 1}), run)
    assert resumed(Bringup(learner="/elsewhere", settings={"learner_node.batch": 7}), run).learner == "/elsewhere"
    (newest / "checkpoint.json").write_text(json.dumps({**described, "format": 7}))
    with pytest.raises(ConfigError, match="format 7, this version reads 9: begin a new run"):
        resumed(Bringup(), run)


# -- looking -------------------------------------------------------------------------------------------------


def test_labels_given_later_count(run: Path) -> None:
    assert [(e.episode, e.outcome) for e in episodes(run)] == [(1, Outcome.SUCCESS), (2, Outcome.SUCCESS)]


def test_runs_are_listed(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (run.parent / "not a run").mkdir()
    (run / "checkpoints/step-000000123.001").mkdir(parents=True)
    (run / "checkpoints/step-000000123.001/checkpoint.json").write_text("{}")
    (found,) = list_runs(run.parent)
    assert (found.episodes, found.successes, found.updates, found.lives, found.running) == (2, 2, 123, 1, False)
    monkeypatch.setattr(sys, "argv", ["rlt", "runs", str(run.parent)])
    with pytest.raises(SystemExit):
        main()
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.split()[:6] == [run.name, "1", "2", "2", "600", "123"]


def test_definitions_hold_all_that_they_name() -> None:
    text = definition("sensor_msgs/msg/CompressedImage")
    assert [line for line in text.splitlines() if line.startswith("MSG:")] == [
        "MSG: std_msgs/Header",
        "MSG: builtin_interfaces/Time",
    ]
    assert definition("rlt_ros/msg/PolicyInput").startswith("# What the VLA saw")


def test_a_message_of_another_version_is_refused_by_name(run: Path) -> None:
    good = record("step", msg.ControlStep(sequence=4))
    assert message_of(good).sequence == 4
    for schema, data, told in (("uint8 other", good.data, "another version"), (good.schema, good.data[:9], "damaged")):
        with pytest.raises(ValueError, match=told):
            message_of(Record(good.topic, good.type, schema, data, 0, 0))


# -- export --------------------------------------------------------------------------------------------------


def exported(monkeypatch: pytest.MonkeyPatch, run: Path, out: Path) -> dict[str, object]:
    monkeypatch.setattr(sys, "argv", ["rlt", "export", str(run), str(out), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    info: dict[str, object] = json.loads((out / "meta/info.json").read_text())
    return info


def test_an_export_without_images_has_states_actions_and_who_flew(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = exported(monkeypatch, run, tmp_path / "out")
    assert (info["total_episodes"], info["total_frames"], info["video_path"]) == (2, 100, None)
    table = pq.read_table(tmp_path / "out/data/chunk-000/file-001.parquet").to_pydict()
    assert table["complementary_info.is_intervention"] == [False] * 31 + [True] * 19
    assert table["next.success"] == [False] * 49 + [True], "the label that was given later"
    assert np.allclose(table["action"][7], 0.007)


def test_an_export_with_images_has_videos_that_show_them(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (run / "journal").glob("*.mcap"):
        path.unlink()
    fly(run, images=True)
    info = exported(monkeypatch, run, tmp_path / "out")
    features = info["features"]
    assert isinstance(features, dict)
    assert [name for name in features if "images" in name] == [f"observation.images.{name}" for name in CAMERAS]
    assert features["observation.images.base"]["dtype"] == "video"
    (entry, _) = pq.read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert entry["videos/observation.images.base/to_timestamp"] == 1.0
    with av.open(str(tmp_path / "out/videos/observation.images.base/chunk-000/file-000.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert float(video.streams.video[0].average_rate) == 50
    assert len(frames) == 50
    shades = [4 * (tick // 2 * 2) for tick in range(50)]
    assert np.allclose([frame.mean() for frame in frames], shades, atol=6)


def test_nothing_to_export_is_said(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (run / "journal").glob("*.mcap"):
        path.unlink()
    sys_argv, sys.argv = sys.argv, ["rlt", "export", str(run), str(tmp_path / "out")]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = sys_argv
    assert ended.value.code == 2
    assert "holds no ended episode" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
