"""session_node as a process: automatic hand-over, success from a sensor, labels that come late."""

from __future__ import annotations

from pathlib import Path

import pytest
from ros_support import Listener, listener
from running import node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from rlt_ros import msg, srv
from rlt_ros.ros.qos import LATCHED_QOS, RECORD_QOS

pytestmark = pytest.mark.live
PARAMETERS = {
    "controlled": "false",
    "settle_time": "0.0",
    "pause_time": "0.2",
    "time_limit": "60.0",
    "success_topic": "done",
    "success_type": "bool",
}


class Rig:
    """Somebody who calls services, and what the session says."""

    def __init__(self, ros: Listener) -> None:
        self.ros = ros
        self.session = ros.listen(msg.SessionState, "session", LATCHED_QOS)
        self.events = ros.listen(msg.EpisodeEvent, "episode", RECORD_QOS)
        self.inputs = ros.node.create_publisher(msg.PolicyInput, "policy_input", RECORD_QOS)
        self.done = ros.node.create_publisher(Bool, "done", 10)

    def call(self, name: str) -> None:
        answer = self.ros.call(Trigger, f"session_node/{name}", Trigger.Request())
        assert answer.success, answer.message

    def phase_is(self, phase: int) -> None:
        self.ros.wait(lambda: bool(self.session) and self.session[-1].phase == phase, 10, f"phase {phase}")

    def see(self, critical: float, until) -> None:
        """Policy inputs, 20 a second."""

        def seen() -> bool:
            self.inputs.publish(msg.PolicyInput(critical=critical))
            self.ros.spin(0.05)
            return until()

        self.ros.wait(seen, 10, f"an effect of {critical}")

    def label(self, outcome: int) -> srv.Label.Response:
        return self.ros.call(srv.Label, "session_node/label", srv.Label.Request(outcome=outcome))


@pytest.fixture
def rig(domain: int, tmp_path: Path, request: pytest.FixtureRequest):
    parameters = {**PARAMETERS, "handover": request.param}
    with listener() as ros, node("session_node", parameters, tmp_path / "log") as process:
        made = Rig(ros)
        made.call("start")
        made.phase_is(msg.SessionState.PHASE_RESET)
        made.call("reset_done")
        made.phase_is(msg.SessionState.PHASE_BASE)
        yield made
        assert process.poll() is None, (tmp_path / "log").read_text()


@pytest.mark.parametrize("rig", ["perform"], indirect=True)
def test_the_phase_head_hands_over_and_a_sensor_ends_the_episode(rig: Rig) -> None:
    rig.see(0.2, lambda: rig.session[-1].phase_time > 0.5)
    assert rig.session[-1].phase == msg.SessionState.PHASE_BASE
    rig.see(0.9, lambda: rig.session[-1].phase == msg.SessionState.PHASE_CRITICAL)
    rig.done.publish(Bool(data=False))
    rig.ros.spin(0.2)
    assert rig.session[-1].phase == msg.SessionState.PHASE_CRITICAL
    rig.done.publish(Bool(data=True))
    rig.ros.wait(lambda: rig.session[-1].successes == 1, 5, "the success")
    rig.phase_is(msg.SessionState.PHASE_RESET)
    # As long as the next episode has not begun, and without an effect on it.
    assert rig.label(srv.Label.Request.OUTCOME_FAILURE).success
    rig.ros.wait(lambda: rig.session[-1].successes == 0, 5, "the new label")
    kinds = [event.kind for event in rig.events]
    assert kinds == [
        msg.EpisodeEvent.KIND_START,
        msg.EpisodeEvent.KIND_BEGIN_CRITICAL,
        msg.EpisodeEvent.KIND_END,
        msg.EpisodeEvent.KIND_LABEL,
    ]
    rig.call("reset_done")
    rig.phase_is(msg.SessionState.PHASE_BASE)
    answer = rig.label(srv.Label.Request.OUTCOME_UNDO)
    assert (answer.success, "no ended episode" in answer.message) == (False, True)


@pytest.mark.parametrize("rig", ["propose"], indirect=True)
def test_a_proposal_waits_for_the_operator(rig: Rig) -> None:
    rig.see(0.9, lambda: rig.session[-1].critical_proposed)
    assert rig.session[-1].phase == msg.SessionState.PHASE_BASE
    rig.see(0.1, lambda: not rig.session[-1].critical_proposed)
    rig.call("begin_critical")
    rig.phase_is(msg.SessionState.PHASE_CRITICAL)


def test_a_sensor_that_says_success_since_before_the_episode_does_not_end_it(domain: int, tmp_path: Path) -> None:
    """Nobody put the scene back yet; an episode of no length would count as a success."""
    parameters = {"success_topic": "done", "success_type": "bool", "settle_time": 0.0, "pause_time": 0.0}
    with listener() as ros, node("session_node", parameters, tmp_path / "log"):
        sensor = ros.node.create_publisher(Bool, "done", 10)
        views = ros.listen(msg.SessionState, "session", LATCHED_QOS)
        says = [True]
        ros.node.create_timer(0.05, lambda: sensor.publish(Bool(data=says[0])))
        ros.wait(lambda: sensor.get_subscription_count() > 0, 20, "session_node")
        ros.spin(0.3)
        ros.call(Trigger, "session_node/start", Trigger.Request())
        ros.call(Trigger, "session_node/reset_done", Trigger.Request())
        ros.wait(lambda: views[-1].phase == msg.SessionState.PHASE_CRITICAL, 5, "an episode")
        ros.spin(0.5)
        assert views[-1].phase == msg.SessionState.PHASE_CRITICAL
        assert "since before the episode began" in (tmp_path / "log").read_text()
        says[0] = False
        ros.spin(0.3)
        says[0] = True
        ros.wait(lambda: any(view.outcome == msg.SessionState.OUTCOME_SUCCESS for view in views), 5, "the success")
