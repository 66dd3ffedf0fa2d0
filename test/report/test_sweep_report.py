"""`rlt report` of a sweep: the figures are those of their definitions, the page has what was compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlt_ros.cli import main
from rlt_ros.config import ConfigError
from rlt_ros.report.aggregates import interval, iqm, probability_of_improvement
from rlt_ros.report.records import read_record, write_record
from rlt_ros.report.sweep import is_sweep, of_task, over_tasks, read_sweep, scores, speeds_of
from rlt_ros.report.sweep_figures import figures

LIMIT = 500


def entry(due: float, share: float, ticks: int) -> dict[str, Any]:
    flown = [ticks if index < 20 * share else None for index in range(20)]
    return {"due": due, "minutes": due, "ticks": flown, "stopped": 0.05, "human_share": 0.2}


def base(results: Path, task: str) -> None:
    ticks = [200] * 16 + [None] * 4
    figures = {"success": 0.8, "success_95": [0.6, 0.9], "throughput": 93.0, "throughput_95": [80.0, 110.0]}
    figures |= {"stopped": 0.0, "median_ticks": 200.0, "ticks": ticks}
    job = {"task": task, "method": "base", "without": "", "seed": 0, "settings": []}
    write_record(results / f"{task}-base.json", {"job": job, "facts": {}, "base": figures, "best_static": figures})


def trained(results: Path, task: str, method: str, seed: int, share: float, ticks: int, **job: Any) -> None:
    described = {"task": task, "method": method, "without": "", "seed": seed, "settings": [], **job}
    episodes = {"minutes": [0.1, 0.2], "ticks": [150, 300], "human_ticks": [150, 0], "success": [1, 0], "actor": [0, 1]}
    record = {
        "job": described,
        "facts": {"command": ["rlt", "train"], "commit": "abc", "started": "2026-11-27"},
        "train": {},
        "learner": {},
        "reaction_ms": 20 if method == "pld" else 200,
        "curve": [entry(5.0, share / 2, ticks), entry(15.0, share, ticks)],
        "episodes": episodes,
    }
    name = "-".join([task, method, job.get("without", ""), str(seed)])
    write_record(results / f"{name}.json", record)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Ours always wins, with and without a part; on two tasks, three seeds."""
    for task in ("ethernet", "charger"):
        base(tmp_path, task)
        for seed in range(3):
            trained(tmp_path, task, "rlt", seed, 0.9 + 0.05 * (seed == 2), 80)
            trained(tmp_path, task, "pld", seed, 0.3, 200)
            trained(tmp_path, task, "rlt", seed, 0.7, 100, without="token,chunk")
    return tmp_path


def test_the_interquartile_mean_is_that_of_the_middle_half() -> None:
    assert iqm(np.arange(8.0).reshape(4, 2)) == pytest.approx(3.5)
    assert iqm(np.array([[0.0], [1.0], [1.0], [100.0]])) == pytest.approx(1.0), "one run out of line changes nothing"


def test_the_probability_of_improvement_is_mann_whitneys_statistic_over_tasks() -> None:
    """Of 3 and 2 seeds on one task: 4 of 6 pairs are won, one is a draw."""
    ours, theirs = np.array([[3.0], [2.0], [1.0]]), np.array([[1.0], [2.5]])
    assert probability_of_improvement(ours, theirs) == pytest.approx((1 + 1 + 1 + 0 + 0.5 + 0) / 6)
    both = np.hstack([ours, np.zeros((3, 1))]), np.hstack([theirs, np.ones((2, 1))])
    assert probability_of_improvement(*both) == pytest.approx(3.5 / 12)


def test_the_bootstrap_draws_seeds_within_each_task() -> None:
    """Tasks differ by a thousand, their seeds not at all: drawn over tasks, the interval would be as wide as that."""
    scores_ = np.array([[1.0, 1000.0]] * 3)
    assert interval([scores_], iqm) == pytest.approx([500.5, 500.5])
    spread = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    low, high = interval([spread], lambda of: float(of.mean()))
    assert 0.0 <= low < 1.0 < high <= 2.0


def test_arms_are_compared_over_tasks_and_on_each(results: Path) -> None:
    sweep = read_sweep(results)
    assert is_sweep(results)
    assert sweep.labels == ["rlt", "rlt, without token and chunk", "pld"]
    speeds, successes = scores(sweep, "pld", ["ethernet"], 15.0)
    assert successes.tolist() == [[0.3]] * 3
    flown = (6 * 200 + 14 * LIMIT) * 0.02
    assert speeds[:, 0] == pytest.approx(6 * 600 / flown / 93.0)
    table = over_tasks(sweep)
    assert table is not None
    rows = {row[0]: row for row in table[1]}
    assert rows["pld"][-1] == "1.00 (1.00-1.00)"
    assert rows["rlt"][-1] == "-"
    assert rows["pld"][4] == "30% (30%-30%)"
    head, lines = of_task(sweep, "ethernet")
    at_end = [dict(zip(head, line, strict=True)) for line in lines if line[1] in ("15", "-")]
    named = {line[""]: line for line in at_end}
    assert named["pld"]["decides every"] == "20 ms"
    assert named["rlt"]["decides every"] == "200 ms"
    assert named["pld"]["the paper (ethernet)"] == "fails"
    assert named["base"]["of base"] == "1.0 x"
    assert speeds_of(sweep, "charger")["human"].tolist() == [150.0] * 9


def test_a_sweep_becomes_a_page_and_tables(
    results: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path_factory.mktemp("out") / "paper.html"
    monkeypatch.setattr("sys.argv", ["rlt", "report", str(results), "--out", str(out), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert sorted(Path(path).stem for path in told["figures"]) == ["ablations", "bars", "curves", "speeds"]
    html = out.read_text()
    assert html.count("<img") == 4
    assert "abc" in html
    text = Path(told["tables"]).read_text()
    assert "| pld | 15 | 3 | 30% (" in text
    assert "### charger" in text


def test_an_unfinished_sweep_has_a_report_too(tmp_path: Path) -> None:
    base(tmp_path, "ethernet")
    trained(tmp_path, "ethernet", "pld", 0, 0.5, 100)
    table = over_tasks(read_sweep(tmp_path))
    assert table is not None
    assert [row[0] for row in table[1]] == ["pld"]
    trained(tmp_path, "charger", "pld", 0, 0.5, 100, settings=[["batch", 64]])
    assert {"bars", "curves", "speeds"} == set(figures(read_sweep(tmp_path))), "a label with a comma is a method too"


def test_settings_that_all_runs_have_are_no_part_of_a_name(tmp_path: Path) -> None:
    """A table with `set` above its runs would have no `rlt` to compare with, and names as long as a line."""
    trained(tmp_path, "ethernet", "rlt", 0, 0.5, 100, settings=[["batch", 64], ["noise", 0.1]])
    trained(tmp_path, "ethernet", "rlt", 1, 0.5, 100, settings=[["batch", 64]])
    assert read_sweep(tmp_path).labels == ["rlt", "rlt, noise 0.1"]


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no record"):
        read_sweep(tmp_path)
    (tmp_path / "a.json").write_text('{"format": 1}')
    with pytest.raises(ConfigError, match="no record of rlt sweep"):
        read_record(tmp_path / "a.json")
    with pytest.raises(ConfigError, match="the limit is 200"):
        write_record(tmp_path / "b.json", {"job": {}, "episodes": ["x" * 200_000]})
