"""A sweep on a Ray cluster of this machine: a node is lost, and everything is done all the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from rlt_ros.cli import app
from rlt_ros.config import ConfigError
from rlt_ros.offline.plan import BASE, Job
from rlt_ros.offline.sweep import Sweep, SweepConfig
from rlt_ros.report.records import read_record

ray = pytest.importorskip("ray", reason="pip install 'rlt_ros[sweep]'")
cluster_utils = pytest.importorskip("ray.cluster_utils")
TASKS = ("charger", "ethernet", "screw", "zip_tie")


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that does no work, and two nodes with a core each."""
    made = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 10**8}
    )
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def test_four_runs_lose_a_node_and_are_done(cluster: Any, tmp_path: Path) -> None:
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=10**8) for _ in range(2)]
    jobs = [Job(task, BASE, episodes=2, variants=False) for task in TASKS]
    config = SweepConfig(tmp_path / "runs", tmp_path / "results", nice=0, ray=cluster.address)
    lost = threading.Event()

    def lose() -> None:
        """As soon as a job's process runs on the second node."""
        raylet = psutil.Process(nodes[1].all_processes["raylet"][0].process.pid)
        end = time.monotonic() + 300
        while time.monotonic() < end:
            working = [it for it in raylet.children(recursive=True) if "rlt_ros.cli" in " ".join(it.cmdline())]
            if working:
                cluster.remove_node(nodes[1], allow_graceful=False)
                psutil.wait_procs(working, 30)
                lost.set()
                return
            time.sleep(0.05)

    killer = threading.Thread(target=lose)
    killer.start()
    status = Sweep(jobs, config).run()
    killer.join()
    assert lost.is_set(), "a node was lost while it worked"
    assert sorted(status.finished) == [f"{task}-base" for task in TASKS], status.failed
    assert not status.failed
    logs = [path.read_text().count("$ rlt eval") for path in tmp_path.glob("runs/*/log.txt")]
    assert sorted(logs) == [1, 1, 1, 2], "only what was lost was done again"
    for task in TASKS:
        record = read_record(tmp_path / f"results/{task}-base.json")
        assert (record["attempts"], record["base"]["episodes"]) == (1, 2), "a lost machine is no failure of the job"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere"])
def test_a_cluster_that_does_not_answer_is_told(address: str, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("runs: [{method: base}]")
    places = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    result = CliRunner().invoke(app, ["sweep", str(tmp_path / "plan.yaml"), "--ray", address, *places])
    assert isinstance(result.exception, ConfigError)
    assert f"no Ray cluster answers at {address}" in str(result.exception)
