"""What the executor hears: messages checked and turned into calls that the control thread makes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String

from rlt_ros.control.actor import WeightsError, receive_actor
from rlt_ros.control.executor import Executor
from rlt_ros.msg import Intervention, PolicyInput, PolicyWeights, SessionState
from rlt_ros.nodes.base import LATCHED_QOS, SENSOR_QOS, from_stamp
from rlt_ros.nodes.convert import JointOrder, policy_input_from_msg, session_from_msg
from rlt_ros.vla.bundle import Bundle

Put = Callable[[Callable[[], object]], None]
"""Has the control thread, which alone touches the state machine, call something."""


class ExecutorInputs:
    """Malformed messages are refused and counted here; what the state machine refuses, it counts itself."""

    def __init__(self, node: Node, executor: Executor, bundle: Bundle, put: Put, settle: Put) -> None:
        """Subscribe.

        Args:
            node: that listens.
            executor: that is told.
            bundle: whose joints and weights are meant.
            put: for what only counts while the node is active.
            settle: for what also counts while it is not: stops and limits.
        """
        self._node, self._executor, self._bundle = node, executor, bundle
        self._put, self._settle = put, settle
        self._order = JointOrder(bundle.joints)
        self._epoch = 0
        self._weights_made = (0, 0.0)
        subscribe = node.create_subscription
        self.subscriptions = [
            subscribe(PolicyInput, "policy_input", self._on_policy_input, SENSOR_QOS),
            subscribe(JointState, "joint_states", self._on_joint_state, SENSOR_QOS),
            subscribe(Intervention, "intervention", self._on_intervention, SENSOR_QOS),
            subscribe(PolicyWeights, "policy", self._on_policy, LATCHED_QOS),
            subscribe(SessionState, "session", self._on_session, LATCHED_QOS),
            subscribe(Bool, "estop", self._on_estop, 10),
            subscribe(String, "robot_description", self._on_robot_description, LATCHED_QOS),
        ]

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
            self._node.get_logger().error(str(error), throttle_duration_sec=5.0)
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
            self._node.get_logger().error(f"robot_description not used: {error}")
            return
        self._settle(partial(setattr, self._executor, "limits", limits))

    def _on_session(self, message: SessionState) -> None:
        try:
            view = session_from_msg(message)
        except ValueError:
            self._executor.counters["session_malformed"] += 1
            return
        self._epoch = view.epoch
        self._put(partial(self._executor.session, time.monotonic(), view))

    def _on_policy(self, message: PolicyWeights) -> None:
        made = from_stamp(message.header.stamp)
        if message.epoch < self._epoch or (message.epoch, made) <= self._weights_made:
            # A learner that has not heard of this session yet sends them again as soon as it has.
            kind = "other_session" if message.epoch < self._epoch else "old"
            self._executor.counters[f"weights_{kind}"] += 1
            return
        try:
            actor = receive_actor(bytes(message.data), message.sha256, message.version, self._bundle.id, made)
            self._executor.check_actor(actor)
        except WeightsError as error:
            self._executor.counters[f"weights_{error.kind}"] += 1
            self._node.get_logger().error(f"weights {message.version} refused: {error}", throttle_duration_sec=5.0)
            return
        self._weights_made = (message.epoch, made)
        self._put(partial(self._executor.weights, actor))
