"""`rlt report`: the page says what the run was, with nothing fetched from elsewhere."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from rlt_ros import msg
from rlt_ros.bringup.graph import Bringup
from rlt_ros.bringup.runs import write_record
from rlt_ros.cli import main
from rlt_ros.config import ConfigError
from rlt_ros.journal.journal import JournalWriter
from rlt_ros.journal.segment import Record
from rlt_ros.report.data import read
from rlt_ros.report.figures import figures
from rlt_ros.report.tables import ablations, comparison, last_of_actor, pooled
from rlt_ros.ros.fields import floats, to_stamp
from rlt_ros.ros.records import definition, stamp_of

BASE, ACTOR = 20, 60


def record(topic: str, message: object) -> Record:
    from rclpy.serialization import serialize_message

    data, name = serialize_message(message), f"rlt_ros/msg/{type(message).__name__}"
    return Record(f"/rlt/{topic}", name, definition(name), data, stamp_of(data), stamp_of(data))


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A run of two lives, an hour apart: the base succeeds in half of 20 episodes, the actor in 54 of 60, faster."""
    path = tmp_path / "live"
    bringup = Bringup(run_dir=path, seed=3, settings={"session_node.time_limit": 7.0})
    write_record(bringup, bringup.nodes(), ["up", "sim", "--headless"])
    writer, now, tick = JournalWriter(path / "journal"), 1000.0, 0
    for episode in range(1, BASE + ACTOR + 1):
        actor = episode > BASE
        if episode == 40:
            now += 3600.0
        seconds = 2.0 if actor else 4.0
        for _ in range(5):
            step = msg.ControlStep(
                robot="/rlt", sequence=tick, epoch=5, episode=episode, input_valid=True, input_age=0.018, row=tick % 5
            )
            step.state = msg.ControlStep.STATE_ACTOR if actor else msg.ControlStep.STATE_REFERENCE
            step.candidate = 1.5 if actor and episode % 2 else 0.0
            step.header.stamp = to_stamp(now + 0.02 * (tick % 5) + (0.003 if tick % 5 == 4 else 0.0))
            for name in ("command", "previous", "position", "velocity"):
                setattr(step, name, floats(np.zeros(14)))
            writer.append(record("step", step))
            tick += 1
        tick += 100  # between episodes nothing is recorded
        now += seconds
        wins = episode % 10 != 0 if actor else episode % 2 == 0
        event = msg.EpisodeEvent(
            robot="/rlt", epoch=5, episode=episode, kind=msg.EpisodeEvent.KIND_END, duration=seconds
        )
        event.outcome, event.actor_enabled, event.ticks = (1 if wins else 2), actor, round(seconds * 50)
        event.header.stamp = to_stamp(now)
        writer.append(record("episode", event))
        for topic, message in (
            ("learner_status", msg.LearnerStatus(updates_per_s=90.0, q_mean=0.5, critic_loss=0.01)),
            ("executor_status", msg.ExecutorStatus(period_error_p99_ms=0.2)),
        ):
            message.header.stamp = to_stamp(now)
            writer.append(record(topic, message))
    writer.close()
    return path


def train(path: Path, without: str, seed: int, share: float) -> Path:
    path.mkdir()
    settings = {"task": "ethernet", "without": without, "seed": seed}
    (path / "config.json").write_text(json.dumps({"train": settings, "learner": {}, "bundle": "b"}))
    ticks = [100 if index < 100 * share else None for index in range(100)]
    entry = {"minutes": 30.0, "episodes": 100, "success": share, "success_95": [share - 0.05, share + 0.02]}
    entry |= {"throughput": 300 * share, "throughput_95": [250 * share, 350 * share], "ticks": ticks}
    entry |= {"stopped": 0.0, "human_share": 0.2, "updates": 9000}
    (path / "curve.json").write_text(json.dumps([{**entry, "minutes": 15.0}, entry]))
    (path / "base.json").write_text(json.dumps({**entry, "throughput": 100.0, "throughput_95": [80.0, 120.0]}))
    head = "episode,minutes,success,ticks,human_ticks,stopped,actor,share_own,share_2\n"
    lines = [
        f"{n},{n * 0.05},{n % 10 != 0},{100},{20 if n < 20 else 0},False,{n > 30},{'0.75,0.25' if n > 30 else ','}"
        for n in range(1, 101)
    ]
    (path / "episodes.csv").write_text(head + "\n".join(lines) + "\n")
    return path


class Fetches(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith("data:")]


def test_a_live_run_becomes_one_file_with_its_figures_and_how_to_have_it_again(
    live: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["rlt", "report", str(live), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    html = Path(told["html"]).read_text()
    parser = Fetches()
    parser.feed(html)
    assert parser.outside == []
    assert "script" not in parser.tags
    assert parser.tags.count("img") == len(told["figures"]) == 6
    for path in told["figures"]:
        assert Path(path).read_bytes().startswith(b"\x89PNG")
    assert "rlt up sim --headless" in html
    assert re.search(r"bundle hash</td><td>small_aloha-[0-9a-f]{12}", html)
    assert "session_node.time_limit" in html


def test_figures_of_a_live_run(live: Path) -> None:
    run = read(live)
    assert len(run.episodes) == BASE + ACTOR
    assert run.base is not None
    assert run.base["success_rate"][1] == 0.5
    assert run.base["throughput_per_10min"][1] == pytest.approx(10 / 80 * 600)
    final = last_of_actor(run)
    assert final is not None
    assert final["success_rate"][1] == pytest.approx(0.9)
    low, value, high = final["throughput_per_10min"]
    assert value == pytest.approx(270.0)
    assert low < value < high
    row = dict(zip(*comparison([run])[0:1], comparison([run])[1][0], strict=True))
    assert row["ratio"].startswith("3.60 (")
    assert row["actor"] == f"2.0 ({ACTOR - 6})"
    assert run.episodes[-1].minutes < 6, "a night between two lives is no robot time"
    assert [shares for _, shares in run.candidates] == [{1.5: 1.0}, {0.0: 1.0}] * (ACTOR // 2)
    assert np.median(run.period_errors) < 0.001
    assert run.period_errors.max() == pytest.approx(3.0, abs=0.01)
    assert np.median(run.input_ages) == pytest.approx(18.0, abs=0.01)
    assert run.damaged == 0


def test_trained_runs_are_compared_and_ablations_pooled_over_seeds(tmp_path: Path) -> None:
    runs = [
        read(train(tmp_path / f"{without or 'full'}{seed}", without, seed, share))
        for without, share in (("", 0.96), ("token", 0.5))
        for seed in (0, 1)
    ]
    assert ablations(runs[:2]) is None
    found = ablations(runs)
    assert found is not None
    rows = [dict(zip(found[0], row, strict=True)) for row in found[1]]
    assert [(row["without"], row["seeds"]) for row in rows] == [("nothing", "2"), ("token", "2")]
    assert rows[0]["success"].startswith("96% (")
    assert rows[1]["success"].startswith("50% (")
    assert comparison(runs)[1][0][5] == "2.88"
    assert [shares for _, shares in runs[0].candidates] == [{0.0: 0.75, 2.0: 0.25}] * 70
    assert "candidates" in figures(runs)


def test_pooling_one_seed_is_that_seed() -> None:
    entry = {"ticks": [100] * 90 + [None] * 10, "stopped": 0.0, "human_share": 0.0}
    pool = pooled([entry], "ethernet")
    assert pool["success"] == 0.9
    assert pool["throughput"] == pytest.approx(90 / ((90 * 100 + 10 * 500) * 0.02) * 600)
    low, high = pool["throughput_95"]
    assert low < pool["throughput"] < high


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no run"):
        read(tmp_path)
    (tmp_path / "config.json").write_text('{"train": {')
    with pytest.raises(ConfigError, match="cannot be read as a run"):
        read(tmp_path)


def test_a_cut_journal_still_gives_a_report(live: Path) -> None:
    segment = next((live / "journal").glob("*.mcap"))
    segment.write_bytes(segment.read_bytes()[: segment.stat().st_size // 2])
    run = read(live)
    assert 0 < len(run.episodes) < BASE + ACTOR


def test_the_foxglove_layout_names_what_is_in_a_journal() -> None:
    """Paths of a layout are texts that nobody checks when a message changes."""
    layout = json.loads((Path(__file__).parents[2] / "config" / "foxglove" / "rlt_ros.json").read_text())
    paths = set(re.findall(r'"(?:value|topicPath|imageTopic)": "(/rlt/[^"]+)"', json.dumps(layout)))
    kinds = {"learner_status": msg.LearnerStatus, "executor_status": msg.ExecutorStatus, "step": msg.ControlStep}
    assert len(paths) > 8
    for path in paths:
        topic, _, field = path.removeprefix("/rlt/").partition(".")
        if field:
            assert field.partition("[")[0] in kinds[topic].get_fields_and_field_types(), path
        else:
            assert topic == "episode" or topic.endswith("/color/image_raw/compressed"), path
    shown: set[str] = set()

    def walk(part: object) -> None:
        if isinstance(part, str):
            shown.add(part)
        elif isinstance(part, dict):
            walk(part["first"])
            walk(part["second"])

    walk(layout["layout"])
    assert shown == set(layout["configById"])
