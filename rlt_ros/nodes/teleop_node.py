"""A human takes over, corrects, hands back, marks the hard part and says how it ended.

Publishes: `intervention` (Intervention) once a period while a human flies, `/diagnostics` (DiagnosticArray).
Subscribes: `joy` (Joy), `step` (ControlStep), `session` (SessionState), with leader arms `<leader_topic>` (JointState).
Services: `~/set_intervention` (SetIntervention).
Services called: `session_node/start`, `reset_done`, `begin_critical` (Trigger), `session_node/label` (Label),
`executor_node/estop` (Trigger).
Parameters: `rlt_ros.teleop.config.TeleopParameters`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState, Joy
from std_srvs.srv import Trigger

from rlt_ros import msg, srv
from rlt_ros.config import ConfigError
from rlt_ros.missing import remedy
from rlt_ros.refusals import Refusals
from rlt_ros.robot.wire import leader_sources
from rlt_ros.ros.clock import LoopClock
from rlt_ros.ros.ears import Ears
from rlt_ros.ros.fields import floats, to_stamp
from rlt_ros.ros.joint_sources import LeaderArms, hear_sources
from rlt_ros.ros.node import read_parameters, run
from rlt_ros.ros.qos import LATCHED_QOS, SENSOR_QOS
from rlt_ros.ros.service_calls import ServiceCalls
from rlt_ros.ros.stop_request import StopRequest
from rlt_ros.ros.teller import Teller
from rlt_ros.share import share_directory
from rlt_ros.teleop.config import TeleopParameters, arm_slots
from rlt_ros.teleop.mapping import Function, Mapping, find_mapping, load_mapping, mapping_path
from rlt_ros.teleop.teleop import Grip, Teleop
from rlt_ros.types import Phase
from rlt_ros.vla.bundle import load_bundle

_MAPPINGS = share_directory() / "config" / "joystick"
_LABELS = {
    Function.SUCCESS: srv.Label.Request.OUTCOME_SUCCESS,
    Function.FAILURE: srv.Label.Request.OUTCOME_FAILURE,
    Function.UNDO: srv.Label.Request.OUTCOME_UNDO,
}


class TeleopNode(Node):
    """Connects `Teleop` to the graph."""

    def __init__(self) -> None:
        """Read the parameters, load mapping and model, connect."""
        super().__init__("teleop_node")
        p = self._config = read_parameters(self, TeleopParameters)
        p.check()
        self._time = LoopClock(self)
        self._refusals = Refusals()
        bundle = load_bundle(p.bundle)
        self._joints = bundle.joints
        names = p.model_joint(bundle.joints)
        self._mapping = None if p.mapping == "auto" else load_mapping(mapping_path(p.mapping, _MAPPINGS))
        kinematics = None
        if p.source == "sticks" and p.model:
            try:
                from rlt_ros.teleop.kinematics import Arms  # MuJoCo is not needed with a leader arm
            except ImportError as error:
                raise ConfigError(f"{remedy(error, 'teleop')}, or empty teleop_node.model") from error
            kinematics = Arms(_model(p.model), p.frames, names)
        self._teleop = Teleop(p, self._mapping, kinematics, arm_slots(names))
        self._phase = Phase.IDLE
        self._grip = Grip.OFF
        self._unknown_device = ""
        self._interventions = self.create_publisher(msg.Intervention, "intervention", SENSOR_QOS)
        Ears(self, Joy, "joy", self._on_joy, depth=50)
        self.create_subscription(msg.ControlStep, "step", self._on_step, SENSOR_QOS)
        self.create_subscription(msg.SessionState, "session", self._on_session, LATCHED_QOS)
        self._leaders = LeaderArms(leader_sources(p.robot_file, p.leader_topic, bundle.joints), bundle.joints)
        if p.source == "leader":
            hear_sources(self, self._leaders.sources, self._on_leader)
        self.create_service(srv.SetIntervention, "~/set_intervention", self._set_intervention)
        self._triggers = {
            name: self.create_client(Trigger, f"session_node/{name}")
            for name in ("start", "reset_done", "begin_critical")
        }
        self._stop = StopRequest(self, self._refusals)
        self._calls = ServiceCalls(self, self._refusals)
        Teller(self, self._refusals)
        self._label = self.create_client(srv.Label, "session_node/label")
        self.create_timer(p.period or bundle.period, self._speak)

    # -- what arrives --------------------------------------------------------------------------------------

    def _on_joy(self, message: Joy) -> None:
        if self._mapping is None and not self._choose_mapping(message):
            return
        malformed = self._teleop.malformed
        pressed = self._teleop.joy(self._time.now(), message.axes, message.buttons)
        mapping = self._mapping
        if self._teleop.malformed > malformed and mapping is not None:
            self._refusals.refuse(
                "joy_malformed",
                f"joy has {len(message.axes)} axes and {len(message.buttons)} buttons; "
                f"the mapping '{mapping.name}' needs {mapping.axis_count} and {mapping.button_count}",
            )
            return
        for function in sorted(pressed, key=lambda function: function is not Function.ESTOP):
            self._act(function)
        if Function.TAKEOVER in pressed and self._teleop.grip is Grip.OFF:
            self._refusals.refuse("takeover_without_executor")
        if Function.TAKEOVER in pressed and self._teleop.asleep:
            self._refusals.refuse("axis_not_at_rest", ", ".join(self._teleop.asleep))
        if self._teleop.grip is not self._grip:
            self._speak()  # not a tick later

    def _choose_mapping(self, message: Joy) -> bool:
        device = message.header.frame_id
        pad = "gamepad" if (len(message.axes), len(message.buttons)) == (6, 21) else "raw"
        found = find_mapping(_MAPPINGS, device, pad)
        if found is None:
            if device != self._unknown_device:
                self._unknown_device = device
                self.get_logger().error(
                    f"no mapping for '{device}' ({len(message.axes)} axes, {len(message.buttons)} buttons): copy one "
                    "in config/joystick, and name it by teleop_node.mapping"
                )
            return False
        self._use(found)
        return True

    def _use(self, mapping: Mapping) -> None:
        self.get_logger().info(f"joystick mapping '{mapping.name}'")
        self._mapping = mapping
        self._teleop.use(mapping)

    def _on_step(self, message: msg.ControlStep) -> None:
        known = not message.reason.startswith(("no_joint_states", "joint_states_"))
        if known and len(message.command) == len(self._joints):
            self._teleop.command(self._time.now(), np.array(message.command, dtype=np.float64))

    def _on_session(self, message: msg.SessionState) -> None:
        try:
            self._phase = Phase(message.phase)
        except ValueError:
            self._refusals.refuse("session_malformed", f"phase {message.phase}")

    def _on_leader(self, message: JointState, part: int) -> None:
        try:
            heard = self._leaders.read(message, part, self._time.now())
        except ValueError as error:
            self._refusals.refuse("leader_malformed", str(error))
            return
        if heard is not None:
            self._teleop.leader(*heard)

    def _set_intervention(
        self, request: srv.SetIntervention.Request, response: srv.SetIntervention.Response
    ) -> srv.SetIntervention.Response:
        response.message = self._teleop.intervene(self._time.now(), request.active)
        response.success = not response.message
        response.message = response.message or ("the human flies" if request.active else "the policy flies on")
        self._speak()
        return response

    # -- what is done --------------------------------------------------------------------------------------

    def _speak(self) -> None:
        self._calls.look_for_answers()
        if self._config.source == "leader" and self._teleop.leader_is_silent(self._time.now()):
            self._refusals.refuse("leader_silent")
        wish = self._teleop.tick(self._time.now())
        if self._teleop.grip is not self._grip:
            self._grip = self._teleop.grip
            if self._grip is Grip.LOST:
                self.get_logger().error(
                    "the joystick fell silent: HOLD until somebody takes over again, or calls ~/set_intervention"
                )
            elif self._grip is not Grip.RELEASED:
                self.get_logger().info(f"human {self._grip.value}")
        if wish is None:
            return
        message = msg.Intervention(active=wish.active, source=self._config.source)
        message.header.stamp = to_stamp(self._time.ros())
        if wish.target is not None:
            message.joint_names, message.target = list(self._joints), floats(wish.target)
        self._interventions.publish(message)

    def _act(self, function: Function) -> None:
        if function is Function.ESTOP:
            self.get_logger().warning("emergency stop pressed")
            self._stop.ask(lambda reason: self.get_logger().info(f"stopped: {reason}"))
        elif function in _LABELS:
            self._calls.call(self._label, srv.Label.Request(outcome=_LABELS[function]), function.value)
        elif function is Function.BEGIN_CRITICAL:
            self._calls.call(self._triggers["begin_critical"], Trigger.Request(), function.value)
        elif function is Function.READY:
            name = "start" if self._phase is Phase.IDLE else "reset_done"
            self._calls.call(self._triggers[name], Trigger.Request(), name)


def _model(name: str) -> Any:
    if name != "cell":
        from rlt_ros.teleop.kinematics import load_model

        return load_model(Path(name))
    try:
        from rlt_ros.sim.model import build_spec
        from rlt_ros.sim.tasks import TASKS
    except ImportError as error:
        raise ConfigError(f"the cell's model needs {error.name}: set teleop_node.model to your robot's file") from error
    return build_spec(next(iter(TASKS.values()))).compile()


def main() -> None:
    """Run the node."""
    run(TeleopNode)
