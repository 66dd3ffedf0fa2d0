"""What the executor hears: messages checked and turned into calls that the control thread makes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String

from rlt_ros import msg
from rlt_ros.control.actor import WeightsError, receive_actor
from rlt_ros.control.clocks import SourceClock
from rlt_ros.control.executor import Executor
from rlt_ros.control.limits import JointLimits
from rlt_ros.robot.wire import Wire, described_names
from rlt_ros.ros.clock import LoopClock
from rlt_ros.ros.convert import policy_input_from_msg, session_from_msg
from rlt_ros.ros.ears import Ears
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.joint_order import JointOrder
from rlt_ros.ros.joint_sources import SourceReader, hear_sources
from rlt_ros.ros.qos import LATCHED_QOS, SENSOR_QOS
from rlt_ros.vla.bundle import Bundle

_SILENT_AFTER = 1.0
"""Seconds after which one of several sources of joint states is told to be silent."""

ToControlThread = Callable[[Callable[[], object]], None]
"""Has the control thread, which alone touches the state machine, call something."""


class ExecutorInputs:
    """Malformed messages are refused and counted here; what the state machine refuses, it counts itself."""

    def __init__(
        self,
        node: Node,
        executor: Executor,
        bundle: Bundle,
        wire: Wire,
        clock: LoopClock,
        stop_topics: tuple[str, ...],
        while_active: ToControlThread,
        always: ToControlThread,
    ) -> None:
        """Subscribe.

        Args:
            node: that listens.
            executor: that is told.
            bundle: whose joints and weights are meant.
            wire: who tells of the robot's joints.
            clock: that the control thread lives by.
            stop_topics: of stop sources.
            while_active: for what only counts while the node is active: the robot, the VLA, the human, the session.
            always: for what also counts while it is not: stops, limits, weights.
        """
        self._node, self._executor, self._bundle, self._clock = node, executor, bundle, clock
        self._while_active, self._always = while_active, always
        self._sources = [SourceReader(source) for source in wire.sources]
        self._heard = [clock.now()] * len(self._sources)
        self._descriptions: dict[str, str] = {}
        self._described = described_names(wire, bundle.joints)
        self._target_order = JointOrder(bundle.joints)
        self._driver_clocks: dict[str, SourceClock] = {}
        self._configured = executor.limits
        self._actions = bundle.actions_id(executor.config.period)
        self._epoch = 0
        self._weights_heard = (0, -1)
        subscribe = node.create_subscription
        self.handles: list[Any] = [
            subscribe(msg.PolicyInput, "policy_input", self._on_policy_input, SENSOR_QOS),
            subscribe(msg.Intervention, "intervention", self._on_intervention, SENSOR_QOS),
            subscribe(msg.PolicyWeights, "policy", self._on_weights, LATCHED_QOS),
            subscribe(msg.SessionState, "session", self._on_session, LATCHED_QOS),
        ]
        self.handles += hear_sources(node, wire.sources, self._on_joint_state)
        for topic in self._described:
            self.handles.append(Ears(node, String, topic, partial(self._on_robot_description, topic=topic)))
        self.handles += [Ears(node, Bool, topic, partial(self._on_estop, topic=topic)) for topic in stop_topics]

    def _refuse(self, kind: str, detail: str = "") -> None:
        self._executor.refusals.refuse(kind, detail)

    def _on_policy_input(self, message: msg.PolicyInput) -> None:
        now = self._clock.now()
        try:
            policy_input = policy_input_from_msg(message, now - self._clock.ros())
        except ValueError as error:
            self._refuse("input_shape", str(error))
            return
        self._while_active(lambda: self._executor.policy_input(self._clock.now(), policy_input))

    def look(self) -> None:
        """Tell which of several sources of joint states is silent; call it now and then."""
        now = self._clock.now()
        for heard, reader in zip(self._heard, self._sources, strict=True):
            if len(self._sources) > 1 and now - heard > _SILENT_AFTER:
                self._refuse("joint_source_silent", f"{reader.source.topic}, {now - heard:.0f} s")

    def _on_joint_state(self, message: JointState, info: dict[str, Any], part: int = 0) -> None:
        try:
            reading = self._sources[part].read(message)
        except ValueError as error:
            self._refuse("joint_state_shape", str(error))
            return
        if reading is None:
            return
        position, velocity = reading
        now, source = self._clock.now(), _publisher(info)
        driver = self._driver_clocks.setdefault(source, SourceClock())
        at = driver.local(from_stamp(message.header.stamp), now, self._clock.ros())
        if at is None:
            self._refuse("joint_state_clock", f"{self._clock.ros() - from_stamp(message.header.stamp):.1f} s old")
            return
        self._heard[part] = now
        self._while_active(partial(self._executor.joint_state, min(at, now), position, velocity, source, part))

    def _on_intervention(self, message: msg.Intervention) -> None:
        target = None
        if message.active and message.target:
            try:
                order = self._target_order.index(message.joint_names)
                target = np.array(message.target, dtype=np.float64)[order]
            except (ValueError, IndexError) as error:
                self._refuse("intervention_malformed", str(error))
                return
        self._while_active(partial(self._executor.intervention, self._clock.now(), message.active, target))

    def _on_estop(self, message: Bool, topic: str = "estop") -> None:
        self._always(partial(self._executor.stop_source, self._clock.now(), topic, message.data))

    def _on_robot_description(self, message: String, topic: str = "robot_description") -> None:
        def tell(problem: str) -> None:
            self._refuse("robot_description", problem)

        limits, told = self._configured, {**self._descriptions, topic: message.data}
        try:
            for of, text in told.items():
                limits = limits.tightened(self._described[of], text, tell)
        except ValueError as error:
            tell(str(error))
            return
        self._descriptions = told
        self._always(partial(self._narrow, limits))

    def _narrow(self, limits: JointLimits) -> None:
        self._executor.limits = limits

    def _on_session(self, message: msg.SessionState) -> None:
        try:
            view = session_from_msg(message)
        except ValueError as error:
            self._refuse("session_malformed", str(error))
            return
        self._epoch = view.epoch
        self._while_active(partial(self._executor.session, self._clock.now(), view))

    def _on_weights(self, message: msg.PolicyWeights) -> None:
        heard = (message.epoch, message.version)
        if message.epoch < self._epoch or heard <= self._weights_heard:
            # A learner that has not heard of this session yet sends them again as soon as it has.
            kind = "other_session" if message.epoch < self._epoch else "old"
            self._refuse(f"weights_{kind}", f"version {message.version} of epoch {message.epoch}")
            return
        made = from_stamp(message.header.stamp)
        try:
            actor = receive_actor(bytes(message.data), message.sha256, message.version, self._actions, made)
            self._executor.check_actor(actor)
        except WeightsError as error:
            self._refuse(f"weights_{error.kind}", f"version {message.version}: {error}")
            return
        self._weights_heard = heard
        self._always(partial(self._executor.weights, actor))


def _publisher(info: dict[str, Any]) -> str:
    """Who published a message; empty where the middleware does not tell."""
    gid = info.get("publisher_gid")
    return bytes(gid["data"]).hex() if gid else ""
