"""Watches a running graph from outside and sums it up."""

from __future__ import annotations

import statistics
import time
from contextlib import suppress
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor

from rlt_ros import msg
from rlt_ros.ros.convert import episode_from_msg
from rlt_ros.ros.qos import LATCHED_QOS, RECORD_QOS
from rlt_ros.session.statistics import EpisodeRecord, human_share, summarise


class Monitor:
    """Subscribes to the small status topics; `spin` it now and then."""

    def __init__(self, namespace: str) -> None:
        """Join the graph; `rclpy.init` must have been called."""
        self._node = rclpy.create_node("monitor", namespace=namespace)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self.session: msg.SessionState | None = None
        self.executor: msg.ExecutorStatus | None = None
        self.learner: msg.LearnerStatus | None = None
        self._episodes: dict[int, EpisodeRecord] = {}
        self._weight_ages: list[float] = []
        self._first_update: tuple[float, int] | None = None
        self._last_update: tuple[float, int] | None = None
        self._node.create_subscription(msg.SessionState, "session", self._on_session, LATCHED_QOS)
        self._node.create_subscription(msg.EpisodeEvent, "episode", self._on_episode, RECORD_QOS)
        self._node.create_subscription(msg.ExecutorStatus, "executor_status", self._on_executor, 10)
        self._node.create_subscription(msg.LearnerStatus, "learner_status", self._on_learner, 10)

    def _on_session(self, message: msg.SessionState) -> None:
        self.session = message

    def _on_episode(self, message: msg.EpisodeEvent) -> None:
        if message.kind in (msg.EpisodeEvent.KIND_END, msg.EpisodeEvent.KIND_LABEL, msg.EpisodeEvent.KIND_UNDO):
            with suppress(ValueError):  # an outcome of another version; session and learner tell of it
                self._episodes[message.episode] = episode_from_msg(message)

    def _on_executor(self, message: msg.ExecutorStatus) -> None:
        self.executor = message
        if message.weight_age >= 0:
            self._weight_ages.append(message.weight_age)

    def _on_learner(self, message: msg.LearnerStatus) -> None:
        self.learner = message
        now = (time.monotonic(), message.updates)
        if message.updates > 0 and self._first_update is None:
            self._first_update = now
        if self._last_update is None or message.updates > self._last_update[1]:
            self._last_update = now

    def spin(self, seconds: float) -> None:
        """Take in what arrives for a while."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def node_names(self) -> set[str]:
        """Full names of all nodes in sight."""
        return {f"{namespace.rstrip('/')}/{name}" for name, namespace in self._node.get_node_names_and_namespaces()}

    def publishers(self, topic: str) -> list[str]:
        """Full names of the nodes that publish on a topic; ROS may know of a publisher some seconds before its name."""
        found = self._node.get_publishers_info_by_topic(topic)
        names = [f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in found]
        return ["somebody" if "_UNKNOWN_" in name else name for name in names]

    def summary(self) -> dict[str, Any]:
        """The figures of a run so far."""
        session, executor, learner = self.session, self.executor, self.learner
        rate = 0.0
        if self._first_update and self._last_update and self._last_update[0] > self._first_update[0]:
            (t0, n0), (t1, n1) = self._first_update, self._last_update
            rate = (n1 - n0) / (t1 - t0)
        return {
            "episodes": session.episodes if session else 0,
            "successes": session.successes if session else 0,
            "throughput_per_10min": round(session.throughput, 2) if session else 0.0,
            "reference": summarise(record for record in self._episodes.values() if not record.actor_enabled),
            "actor": summarise(record for record in self._episodes.values() if record.actor_enabled),
            "interventions": sum(record.interventions for record in self._episodes.values()),
            "intervention_share": round(human_share(self._episodes.values()), 3),
            "transitions": learner.samples if learner else 0,
            "updates": learner.updates if learner else 0,
            "updates_per_s": round(rate, 1),
            "updates_per_s_busy": round(learner.updates_per_s_busy, 1) if learner else 0.0,
            # Without an executor in sight (a learner on a machine of its own) what was published last.
            "policy_version": executor.policy_version if executor else learner.version if learner else 0,
            "weight_age_s_p50": round(statistics.median(self._weight_ages), 3) if self._weight_ages else None,
            "loop_p99_ms": round(executor.period_error_p99_ms, 3) if executor else None,
            "loop_max_ms": round(executor.period_error_max_ms, 3) if executor else None,
            "missed_ticks": executor.missed_ticks if executor else None,
        }

    def close(self) -> None:
        """Leave the graph."""
        self._node.destroy_node()
