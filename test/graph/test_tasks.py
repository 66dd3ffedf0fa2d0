"""Every task of the cell through the real graph: a human with a pad does it, and the session says so."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from ros_support import listener
from running import node

from rlt_ros import msg
from rlt_ros.bringup.graph import Bringup
from rlt_ros.ros.qos import LATCHED_QOS, RECORD_QOS
from rlt_ros.sim.tasks import TASKS
from rlt_ros.types import Outcome
from rlt_ros.vla.bundle import load_bundle

pytestmark = [pytest.mark.live, pytest.mark.whole]
BUNDLE = load_bundle(Bringup().bundle_path)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_human_does_it_by_pad(task: str, domain: int, tmp_path: Path) -> None:
    names = ("executor_node", "session_node", "sim_node")
    parameters = {name: dict(Bringup(task=task).parameters(name)) for name in names}
    parameters["executor_node"] |= {"bundle": BUNDLE.directory, "priority": 0}
    parameters["sim_node"] |= {"priority": 0, "seed": 5, "task": task, "human": True, "demonstrations": 1000}
    parameters["session_node"] |= {"learner_wait": 0.0, "task": task}
    parameters["vla_node"] = {"bundle": BUNDLE.directory, "task": task}
    parameters["teleop_node"] = {"bundle": BUNDLE.directory}
    with contextlib.ExitStack() as stack:
        ros = stack.enter_context(listener())
        for name, values in parameters.items():
            stack.enter_context(node(name, values, tmp_path / f"{name}.log"))
        events = ros.listen(msg.EpisodeEvent, "episode", RECORD_QOS)
        session = ros.listen(msg.SessionState, "session", LATCHED_QOS)
        steps = ros.listen(msg.ControlStep, "step", RECORD_QOS)

        def done() -> bool:
            # Until teleop_node is there the VLA flies, and may succeed.
            return any(event.outcome == Outcome.SUCCESS and event.human_ticks for event in events)

        ros.wait(done, 120, f"a human's success; {[event.outcome for event in events]}, {session[-1:]}")
        assert session[-1].task == task
        assert any(step.state == msg.ControlStep.STATE_HUMAN for step in steps)
