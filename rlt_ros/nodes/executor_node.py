"""The control loop: reference or actor, guarded, on the wire.

Publishes: `<command_topics>` (Float64MultiArray or JointTrajectory), `action_chunk` (ActionChunk), `step`
(ControlStep), `executor_status` (ExecutorStatus), `/diagnostics` (DiagnosticArray).
Subscribes: `policy_input` (PolicyInput), `joint_states` (JointState), `intervention` (Intervention), `policy`
(PolicyWeights), `session` (SessionState), `<stop_topics>` (Bool), `robot_description` (String).
Services: `~/set_mode` (SetMode), `~/estop`, `~/clear_estop`, `~/home` (Trigger).
Actions called: `<controller>/follow_joint_trajectory` (FollowJointTrajectory), `<gripper>` (GripperCommand).
Parameters: `rlt_ros.control.config.ExecutorParameters`.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from std_srvs.srv import Trigger

from rlt_ros import msg, srv
from rlt_ros.config import ConfigError
from rlt_ros.control.actor import WeightsError, read_actor
from rlt_ros.control.config import ExecutorParameters
from rlt_ros.control.executor import Executor
from rlt_ros.control.realtime import PeriodicThread, raise_priority, wait_until
from rlt_ros.robot.wire import executor_wire
from rlt_ros.ros.clock import LoopClock
from rlt_ros.ros.convert import chunk_to_msg, diagnostics_to_msg, status_to_msg, step_to_msg
from rlt_ros.ros.executor_inputs import ExecutorInputs
from rlt_ros.ros.fields import to_stamp
from rlt_ros.ros.homing import Homing
from rlt_ros.ros.node import ManagedNode, read_parameters, run
from rlt_ros.ros.qos import HISTORY_QOS, RECORD_QOS
from rlt_ros.ros.robot_output import RobotOutput
from rlt_ros.ros.teller import Teller
from rlt_ros.types import ControlStep, Mode
from rlt_ros.vla.bundle import load_bundle

_LAST_WORD = Duration(seconds=0.5)
"""How long the final hold may take to arrive before the node goes down."""
_LONGEST_STOP = 2.0
"""Seconds within which the robot must have come to rest before the node goes down."""


class ExecutorNode(ManagedNode):
    """Callbacks put what arrives into an inbox; the control thread alone touches the state machine."""

    def __init__(self) -> None:
        """Read the parameters."""
        super().__init__("executor_node")
        self._config = read_parameters(self, ExecutorParameters)
        self._config.check()
        self._time = LoopClock(self)
        self._inbox: deque[Callable[[], object]] = deque()
        self._loop: PeriodicThread | None = None

    # -- life cycle ----------------------------------------------------------------------------------------

    def setup(self) -> None:
        """Load the bundle's description and connect."""
        p = self._config
        bundle = load_bundle(p.bundle)
        p = self._config = replace(p, period=p.period or bundle.period)
        bundle.check_fits(p.joints, bundle.cameras, robot=p.robot)
        self._bundle = bundle
        self._wire = wire = executor_wire(p)
        limits, places = p.limits(bundle.joints), wire.places(bundle.joints)
        self._executor = Executor(p, bundle.id, bundle.normaliser, limits, p.stops, places)
        if p.actor:
            try:
                actor = read_actor(Path(p.actor), bundle.actions_id(p.period))
                self._executor.check_actor(actor)
            except WeightsError as error:
                raise ConfigError(f"actor {p.actor} refused: {error}") from error
            self._executor.weights(actor)
        self._last_step: ControlStep | None = None
        self._chunks, self._robot_id = 0, self.get_namespace()
        self._connect()

    def _connect(self) -> None:
        p = self._config
        self._robot = RobotOutput(self, self._wire, p.period, self._bundle.joints, self._executor.refusals)
        self._steps = self.create_publisher(msg.ControlStep, "step", HISTORY_QOS)
        self._chunk_publisher = self.create_publisher(msg.ActionChunk, "action_chunk", RECORD_QOS)
        self._status = self.create_publisher(msg.ExecutorStatus, "executor_status", 10)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        to_thread = (self._while_active, self._always)
        self._inputs = ExecutorInputs(self, self._executor, self._bundle, self._wire, self._time, p.stops, *to_thread)
        self._homing = Homing(self, self._executor, p, self._wire, self._bundle.joints, self._while_active)
        self.handles = [
            *self._robot.handles,
            self._steps,
            self._chunk_publisher,
            self._status,
            self._diagnostics,
            *self._inputs.handles,
            Teller(self, self._executor.refusals),
            self._homing,
            self.create_timer(0.05, self._homing.watch),
            self.create_service(Trigger, "~/home", self._home),
            self.create_service(srv.SetMode, "~/set_mode", self._set_mode),
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
        self._last_ticks = 0
        clock = self._time.now if self._time.simulated else None
        self._loop = PeriodicThread(p.period, self._tick, self._loop_failed, clock)
        self._loop.start(p.priority)
        if p.priority > 1:
            # This thread runs the callbacks. Were it put aside while it holds the interpreter, the loop would wait.
            raise_priority(p.priority - 1)
        if self._loop.warning:
            self.get_logger().warning(self._loop.warning)
        self.get_logger().info(f"flying bundle {self._bundle.id} at {1 / p.period:.0f} Hz")

    def halt(self) -> None:
        """Slow down to rest, then stop the control thread; the last command on the wire is a hold, and has arrived."""
        loop = self._loop
        if loop is None:
            return
        self._homing.halt()
        self._inbox.append(self._end)
        wait_until(lambda: bool(self.failure) or (self._executor.ending and self._executor.rests), _LONGEST_STOP, 0.01)
        loop.stop()
        self._loop = None
        self._drain()
        for publisher in (*self._robot.publishers, self._steps):
            publisher.wait_for_all_acked(_LAST_WORD)

    def _end(self) -> None:
        self._executor.take_back()
        self._executor.ending = True

    # -- the control thread --------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        self._drain()
        step = self._last_step = self._executor.tick(now)
        if step.sent:
            self._robot.send(step.command, step.ahead)
        offset = self._time.stamp(now) - now
        self._steps.publish(step_to_msg(step, offset, self._robot_id))
        if step.chunk is not None:
            self._chunk_publisher.publish(
                chunk_to_msg(
                    step.chunk,
                    self._chunks,
                    step.session.episode,
                    self._bundle.joints,
                    self._executor.normaliser,
                    self._config.period,
                    offset,
                )
            )
            self._chunks += 1

    def _drain(self) -> None:
        while self._inbox:
            self._inbox.popleft()()

    def _while_active(self, call: Callable[[], object]) -> None:
        """Leave something for the control thread; while it does not run, nothing may pile up."""
        if self._loop is not None:
            self._inbox.append(call)

    def _always(self, call: Callable[[], object]) -> None:
        """The same for what must also count while the node is inactive: stops and limits."""
        if self._loop is not None:
            self._inbox.append(call)
        else:
            call()

    def _loop_failed(self, error: Exception) -> None:
        """An exception in the loop: what moves slows down to rest, then nothing more is sent."""
        try:
            step = self._last_step
            if step is not None and step.sent:
                self._robot.come_to_rest(step.command, step.previous, self._executor.limits)
        finally:
            self.failure = f"control loop stopped: {error!r}"
            self.get_logger().fatal(self.failure)

    # -- services ------------------------------------------------------------------------------------------

    def _set_mode(self, request: srv.SetMode.Request, response: srv.SetMode.Response) -> srv.SetMode.Response:
        try:
            mode = Mode(request.mode)
        except ValueError:
            response.message = f"mode {request.mode} is unknown: 0 HOLD, 1 REFERENCE, 2 AUTO"
            return response
        self._always(partial(self._change_mode, mode))
        inactive = "" if self._loop is not None else "; executor_node is inactive, it holds once it is activated"
        response.success, response.message = True, f"{mode.name}{inactive}"
        return response

    def _change_mode(self, mode: Mode) -> None:
        self._executor.mode = mode

    def _estop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._always(partial(self._executor.estop, "emergency stop by service"))
        response.success, response.message = True, "latched; clear it with ~/clear_estop"
        return response

    def _clear_estop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.message = self._executor.stops.fault(self._time.now())
        if not response.message:
            self._always(self._executor.clear_estop)
            response.success, response.message = True, "cleared; mode is HOLD, set it to AUTO to go on"
        return response

    def _home(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._loop is None:
            response.message = "executor_node is inactive: activate it first"
            return response
        response.message = self._homing.start()
        response.success = not response.message
        response.message = response.message or "on the way; `reason` is `homing` until it is there"
        return response

    def _publish_status(self) -> None:
        loop, executor = self._loop, self._executor
        self._inputs.look()
        if loop is None or self._last_step is None:
            return
        rate, self._last_ticks = loop.statistics.ticks - self._last_ticks, loop.statistics.ticks
        message = status_to_msg(self._last_step, loop.statistics, executor, self._bundle.joints, self.failure)
        message.header.stamp = to_stamp(self._time.ros())
        message.rate = float(rate)
        made = executor.actor.made if executor.actor is not None else 0.0
        message.weight_age = self._time.ros() - made if made else -1.0
        message.bundle_id = self._bundle.id
        self._status.publish(message)
        self._diagnostics.publish(diagnostics_to_msg(message, self.get_fully_qualified_name()))


def main() -> None:
    """Run the node."""
    run(ExecutorNode)
