"""The 50 Hz control loop: reference or actor, guarded, on the wire.

Publishes: the robot command topics, `action_chunk` (ActionChunk), `step` (ControlStep), `executor_status`
(ExecutorStatus), `/diagnostics` (DiagnosticArray).
Subscribes: `policy_input` (PolicyInput), `joint_states` (JointState), `intervention` (Intervention), `policy`
(PolicyWeights), `session` (SessionState), `estop` (Bool), `robot_description` (String).
Services: `~/set_mode` (SetMode), `~/estop` (Trigger), `~/clear_estop` (Trigger).
Parameters: `rlt_ros.nodes.parameters.ExecutorParameters`.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from rlt_ros.config import ConfigError
from rlt_ros.control.actor import WeightsError, read_actor, receive_actor
from rlt_ros.control.executor import Executor
from rlt_ros.control.realtime import PeriodicThread, raise_priority
from rlt_ros.msg import ActionChunk, ControlStep, ExecutorStatus, Intervention, PolicyInput, PolicyWeights, SessionState
from rlt_ros.nodes.base import (
    LATCHED_QOS,
    RECORD_QOS,
    SENSOR_QOS,
    ManagedNode,
    from_stamp,
    read_parameters,
    run,
)
from rlt_ros.nodes.convert import (
    JointOrder,
    chunk_to_msg,
    diagnostics_to_msg,
    policy_input_from_msg,
    session_from_msg,
    status_to_msg,
    step_to_msg,
)
from rlt_ros.nodes.parameters import ExecutorParameters
from rlt_ros.nodes.robot_output import RobotOutput
from rlt_ros.srv import SetMode
from rlt_ros.types import ControlStep as Step
from rlt_ros.types import Mode
from rlt_ros.vla.bundle import load_bundle

_LAST_WORD = Duration(seconds=0.5)
"""How long the final hold may take to arrive before the node goes down."""


class ExecutorNode(ManagedNode):
    """Callbacks put what arrives into an inbox; the control thread alone touches the state machine."""

    def __init__(self) -> None:
        """Read the parameters."""
        super().__init__("executor_node")
        self._config = read_parameters(self, ExecutorParameters)
        self._inbox: deque[Callable[[], object]] = deque()
        self._loop: PeriodicThread | None = None

    # -- life cycle ----------------------------------------------------------------------------------------

    def setup(self) -> None:
        """Load the bundle's description and connect."""
        p = self._config
        bundle = load_bundle(p.bundle)
        if abs(bundle.period - p.period) > 1e-6:
            raise ConfigError(f"period is {p.period} s, the bundle's rows are {bundle.period} s apart")
        bundle.check_fits(p.joints, bundle.cameras)
        self._bundle = bundle
        self._order = JointOrder(bundle.joints)
        self._executor = Executor(p, bundle.id, bundle.normaliser, p.limits(bundle.joints))
        if p.actor:
            try:
                actor = read_actor(Path(p.actor), bundle.id)
                self._executor.check_actor(actor)
            except WeightsError as error:
                raise ConfigError(f"actor {p.actor} refused: {error}") from error
            self._executor.weights(actor)
        self._last_step: Step | None = None
        self._chunks = 0
        self._last_ticks = 0
        self._connect()

    def _connect(self) -> None:
        p = self._config
        self._robot = RobotOutput(self, p, self._bundle.joints)
        self._steps = self.create_publisher(ControlStep, "step", RECORD_QOS)
        self._chunk_publisher = self.create_publisher(ActionChunk, "action_chunk", RECORD_QOS)
        self._status = self.create_publisher(ExecutorStatus, "executor_status", 10)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        subscribe = self.create_subscription
        self.handles = [
            *self._robot.publishers,
            self._steps,
            self._chunk_publisher,
            self._status,
            self._diagnostics,
            subscribe(PolicyInput, "policy_input", self._on_policy_input, SENSOR_QOS),
            subscribe(JointState, "joint_states", self._on_joint_state, SENSOR_QOS),
            subscribe(Intervention, "intervention", self._on_intervention, SENSOR_QOS),
            subscribe(PolicyWeights, "policy", self._on_policy, LATCHED_QOS),
            subscribe(SessionState, "session", self._on_session, LATCHED_QOS),
            subscribe(Bool, "estop", self._on_estop, 10),
            subscribe(String, "robot_description", self._on_robot_description, LATCHED_QOS),
            self.create_service(SetMode, "~/set_mode", self._set_mode),
            self.create_service(Trigger, "~/estop", self._estop),
            self.create_service(Trigger, "~/clear_estop", self._clear_estop),
            self.create_timer(1.0, self._publish_status),
        ]

    def start(self) -> None:
        """Start the control thread."""
        p = self._config
        # A callback must not keep the interpreter from the control thread for the usual 5 ms.
        sys.setswitchinterval(1e-4)
        self._executor.forget_robot()
        self._executor.mode = Mode.AUTO
        self._last_ticks = 0
        self._loop = PeriodicThread(p.period, self._tick, self._loop_failed)
        self._loop.start(p.priority)
        if p.priority > 1:
            # This thread runs the callbacks. Were it put aside while it holds the interpreter, the loop would wait.
            raise_priority(p.priority - 1)
        if self._loop.warning:
            self.get_logger().warning(self._loop.warning)
        self.get_logger().info(f"flying bundle {self._bundle.id} at {1 / p.period:.0f} Hz")

    def halt(self) -> None:
        """Stop the control thread; the last command on the wire repeats the one before, and has arrived."""
        if self._loop is not None:
            self._loop.stop()
            self._loop = None
            self._drain()
            if not self.failure:
                self._executor.mode = Mode.HOLD
                self._tick(time.monotonic())
            for publisher in (*self._robot.publishers, self._steps):
                publisher.wait_for_all_acked(_LAST_WORD)

    # -- the control thread --------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        self._drain()
        step = self._executor.tick(now)
        if step.sent:
            self._robot.send(step.command)
        offset = time.time() - now
        self._steps.publish(step_to_msg(step, offset))
        if step.chunk is not None:
            self._chunk_publisher.publish(
                chunk_to_msg(
                    step.chunk,
                    self._chunks,
                    step.session.episode,
                    self._bundle.joints,
                    self._bundle.normaliser,
                    self._config.period,
                    offset,
                )
            )
            self._chunks += 1
        self._last_step = step

    def _drain(self) -> None:
        while self._inbox:
            self._inbox.popleft()()

    def _put(self, call: Callable[[], object]) -> None:
        """Leave something for the control thread; while it does not run, nothing may pile up."""
        if self._loop is not None:
            self._inbox.append(call)

    def _settle(self, call: Callable[[], object]) -> None:
        """The same for what must also count while the node is inactive: stops and limits."""
        if self._loop is not None:
            self._inbox.append(call)
        else:
            call()

    def _loop_failed(self, error: Exception) -> None:
        """An exception in the loop: the last command again, then nothing more."""
        self.failure = f"control loop stopped: {error!r}"
        if self._last_step is not None and self._last_step.sent:
            self._robot.send(self._last_step.command)
        self.get_logger().fatal(self.failure)

    # -- what arrives --------------------------------------------------------------------------------------

    def _on_policy_input(self, message: PolicyInput) -> None:
        offset = time.monotonic() - time.time()
        try:
            policy_input = policy_input_from_msg(message, offset)
        except ValueError:
            self._executor.counters["input_shape"] += 1
            return
        self._put(lambda: self._executor.policy_input(time.monotonic(), policy_input))

    def _on_joint_state(self, message: JointState) -> None:
        try:
            position, velocity = self._order.read(message)
        except ValueError as error:
            self._executor.counters["joint_state_shape"] += 1
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
            return
        stamp = min(time.monotonic(), from_stamp(message.header.stamp) + time.monotonic() - time.time())
        self._put(partial(self._executor.joint_state, stamp, position, velocity))

    def _on_intervention(self, message: Intervention) -> None:
        target = None
        if message.active and message.target:
            try:
                target = np.array(message.target, dtype=np.float64)[
                    JointOrder(self._bundle.joints).index(message.joint_names)
                ]
            except (ValueError, IndexError):
                self._executor.counters["intervention_malformed"] += 1
                return
        self._put(partial(self._executor.intervention, time.monotonic(), message.active, target))

    def _on_estop(self, message: Bool) -> None:
        if message.data:
            self._settle(partial(self._executor.estop, "emergency stop by topic", held=True))
        else:
            self._settle(self._executor.estop_released)

    def _on_robot_description(self, message: String) -> None:
        try:
            limits = self._executor.limits.tightened(self._bundle.joints, message.data)
        except ValueError as error:
            self.get_logger().error(f"robot_description not used: {error}")
            return
        self._settle(partial(setattr, self._executor, "limits", limits))

    def _on_session(self, message: SessionState) -> None:
        try:
            view = session_from_msg(message)
        except ValueError:
            self._executor.counters["session_malformed"] += 1
            return
        self._put(partial(self._executor.session, time.monotonic(), view))

    def _on_policy(self, message: PolicyWeights) -> None:
        try:
            made = from_stamp(message.header.stamp)
            actor = receive_actor(bytes(message.data), message.sha256, message.version, self._bundle.id, made)
            self._executor.check_actor(actor)
        except WeightsError as error:
            self._executor.counters[f"weights_{error.kind}"] += 1
            self.get_logger().error(f"weights {message.version} refused: {error}", throttle_duration_sec=5.0)
            return
        self._put(partial(self._executor.weights, actor))

    # -- services ------------------------------------------------------------------------------------------

    def _set_mode(self, request: SetMode.Request, response: SetMode.Response) -> SetMode.Response:
        try:
            mode = Mode(request.mode)
        except ValueError:
            response.message = f"mode {request.mode} is unknown: 0 HOLD, 1 REFERENCE, 2 AUTO"
            return response
        self._put(partial(setattr, self._executor, "mode", mode))
        response.success, response.message = True, mode.name
        return response

    def _estop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._settle(partial(self._executor.estop, "emergency stop by service"))
        response.success, response.message = True, "latched; clear it with ~/clear_estop"
        return response

    def _clear_estop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.message = self._executor.estop_fault
        if not response.message:
            self._settle(self._executor.clear_estop)
            response.success, response.message = True, "cleared; mode is HOLD, set it to AUTO to go on"
        return response

    def _publish_status(self) -> None:
        loop, executor = self._loop, self._executor
        if loop is None or self._last_step is None:
            return
        rate, self._last_ticks = loop.statistics.ticks - self._last_ticks, loop.statistics.ticks
        message = status_to_msg(self._last_step, loop.statistics, executor, self._bundle.joints, self.failure)
        message.rate = float(rate)
        actor = executor.actor
        message.weight_age = time.time() - actor.made if actor is not None and actor.made else -1.0
        message.bundle_id = self._bundle.id
        self._status.publish(message)
        self._diagnostics.publish(diagnostics_to_msg(message, self.get_fully_qualified_name()))


def main() -> None:
    """Run the node."""
    run(ExecutorNode)
