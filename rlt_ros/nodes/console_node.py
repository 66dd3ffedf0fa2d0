"""The operator's page on http://127.0.0.1:8700.

Subscribes: `session` (SessionState), `episode` (EpisodeEvent), `executor_status` (ExecutorStatus), `learner_status`
(LearnerStatus), `action_chunk` (ActionChunk), `/diagnostics` (DiagnosticArray), `/rosout` (Log); while a page is open
also `step` (ControlStep) and `<camera>/color/image_raw` (Image, CompressedImage).
Services called: `session_node/start`, `stop`, `begin_critical`, `reset_done` (Trigger), `session_node/label` (Label),
`teleop_node/set_intervention` (SetIntervention), `executor_node/estop`, `clear_estop` (Trigger),
`executor_node/set_mode` (SetMode).
Publishes: `/diagnostics` (DiagnosticArray).
Parameters: `rlt_ros.console.config.ConsoleParameters`.
"""

from __future__ import annotations

import sys
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Log
from rclpy.node import Node

from rlt_ros import msg
from rlt_ros.config import named
from rlt_ros.console.config import ConsoleParameters
from rlt_ros.missing import remedy
from rlt_ros.refusals import Refusals
from rlt_ros.ros.clock import STEADY, LoopClock
from rlt_ros.ros.console_actions import ConsoleActions
from rlt_ros.ros.console_views import UNKNOWN, ConsoleViews, word
from rlt_ros.ros.convert import episode_from_msg
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.node import read_parameters, run
from rlt_ros.ros.qos import HISTORY_QOS, LATCHED_QOS
from rlt_ros.ros.teller import Teller
from rlt_ros.types import Outcome, Phase, State

try:
    from rlt_ros.console.access import Access, read_token
    from rlt_ros.console.processes import Processes
    from rlt_ros.console.server import ALWAYS_ALLOWED, Pages, Server, bind
except ImportError as error:  # the robot flies without a page
    print(f"error: {remedy(error, 'console')}", file=sys.stderr)
    raise SystemExit(2) from error
from rlt_ros.console.state import ConsoleState

_LATE = {"session_node": 1.0, "executor_node": 2.5, "learner_node": 2.5, "vla_node": 2.5, "recorder_node": 5.0}
"""Seconds of silence after which a node is shown as late."""
_HISTORY = 3600
"""Seconds that the plots can look back."""
_LOG_LEVELS = {Log.WARN: "warning", Log.ERROR: "error", Log.FATAL: "fatal"}


class ConsoleNode(Node):
    """Callbacks fill the state; the server's thread reads it and hands back what was pressed."""

    def __init__(self) -> None:
        """Listen to the graph, and on the port."""
        super().__init__("console_node")
        p = self._config = read_parameters(self, ConsoleParameters)
        p.check()
        token = read_token(Path(p.token_file)) if p.token_file else ""
        robot = self.get_namespace()
        self._time = LoopClock(self)
        self._state = ConsoleState(robot, named(p.cameras), _HISTORY, wall=self._time.ros)
        self._processes = Processes(robot)
        self._in_sight: set[str] = set()
        self._todo: deque[tuple[str, Future[tuple[bool, str]]]] = deque()
        self._watching = self._watched = 0
        refusals = Refusals()
        self._actions = ConsoleActions(self, refusals)
        self._views = ConsoleViews(self, self._state, p, self._changed, refusals)
        Teller(self, refusals)
        self._wake = self.create_guard_condition(self._work)
        subscribe = self.create_subscription
        subscribe(msg.SessionState, "session", self._on_session, LATCHED_QOS)
        subscribe(msg.EpisodeEvent, "episode", self._on_episode, HISTORY_QOS)
        subscribe(msg.ExecutorStatus, "executor_status", self._on_executor, 10)
        subscribe(msg.LearnerStatus, "learner_status", self._on_learner, 10)
        subscribe(msg.ActionChunk, "action_chunk", self._on_chunk, 10)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        subscribe(Log, "/rosout", self._on_log, 10)
        self.create_timer(1.0, self._every_second, clock=STEADY)
        bound = bind(p.host, p.port)
        self._pages = Pages(
            self._state,
            Access(token, (p.host, *p.hosts)),
            self._perform,
            read_only=p.read_only,
            picture_period=1.0 / p.picture_rate,
            watched=self._on_watched,
        )
        self._server = Server(self._pages.app(), bound)
        host, port = bound.getsockname()[:2]
        shown = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        asked = f"; the token is in {p.token_file}" if token else ""
        self.get_logger().info(f"console: {shown}{asked}")

    def close(self) -> None:
        """End the server."""
        self._server.stop()

    # -- from the server's thread --------------------------------------------------------------------------

    def _perform(self, action: str) -> Future[tuple[bool, str]]:
        future: Future[tuple[bool, str]] = Future()
        self._todo.append((action, future))
        self._wake.trigger()
        return future

    def _on_watched(self, pages: int) -> None:
        self._watching = pages
        self._wake.trigger()

    def _changed(self) -> None:
        self._pages.hurry()

    # -- in the node's thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        while self._todo:
            action, future = self._todo.popleft()
            if future.cancelled() and action not in ALWAYS_ALLOWED:
                continue  # whoever pressed was told that nobody answers
            self._actions.perform(action, future)
            self.get_logger().info(f"pressed: {action}")
        if bool(self._watching) != bool(self._watched):
            self._views.show(bool(self._watching))
            self._look_at_nodes()
        self._watched = self._watching

    def _on_session(self, message: msg.SessionState) -> None:
        values = {
            "phase": word(Phase, message.phase).lower(),
            "outcome": word(Outcome, message.outcome).lower(),
            **{
                name: getattr(message, name)
                for name in (
                    *("epoch", "episode", "actor_enabled", "explore", "phase_time", "time_left", "episodes"),
                    *("successes", "success_rate", "throughput", "interventions", "intervention_share"),
                    *("critical_proposed", "task"),
                )
            },
        }
        if self._state.update("session", values, urgent=("phase", "episode", "outcome", "critical_proposed")):
            self._changed()
        self._state.heard("session_node")

    def _on_episode(self, message: msg.EpisodeEvent) -> None:
        ended = message.kind in (msg.EpisodeEvent.KIND_END, msg.EpisodeEvent.KIND_LABEL, msg.EpisodeEvent.KIND_UNDO)
        if ended and word(Outcome, message.outcome) != UNKNOWN:
            self._state.episode(episode_from_msg(message), message.epoch, from_stamp(message.header.stamp))

    def _on_executor(self, message: msg.ExecutorStatus) -> None:
        names = ("rate", "missed_ticks", "policy_version", "weight_age", "input_age", "compute_p99_ms", "actor_p99_ms")
        values = {name: round(getattr(message, name), 3) for name in names}
        values |= {
            f"period_error_{name}_ms": getattr(message, f"period_error_{name}_ms") for name in ("p50", "p99", "max")
        }
        values |= {"state": word(State, message.state), "reason": message.reason, "bundle": message.bundle_id}
        if self._state.update("executor", values, urgent=("state", "reason")):
            self._changed()
        self._state.heard("executor_node")

    def _on_learner(self, message: msg.LearnerStatus) -> None:
        names = (
            *("samples", "updates", "updates_per_s", "update_ratio", "version", "weight_age", "q_mean", "target_mean"),
            *("anchor_distance", "episodes", "gaps", "duplicates", "paused"),
        )
        values = {name: getattr(message, name) for name in names}
        self._state.update("learner", {**values, "td_error": message.critic_loss})
        self._state.heard("learner_node")

    def _on_chunk(self, message: msg.ActionChunk) -> None:
        if len(message.target) != len(message.reference):
            return
        difference = np.subtract(message.target, message.reference)
        self._state.update(
            "chunk", {"action_distance": float(np.sqrt(np.mean(difference**2))) if len(difference) else 0.0}
        )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        prefix = f"{self.get_namespace().rstrip('/')}/"
        for status in message.status:
            if status.name.startswith(prefix):
                node, _, part = status.name.removeprefix(prefix).partition("/")[0].partition(": ")
                if part == "refused":
                    self._state.refused(node, {value.key: value.value for value in status.values})
                    continue
                rate = next((value.value for value in status.values if value.key == "rate"), "")
                self._state.update(f"diagnostics {node}", {"rate": rate, "message": status.message})
                if node not in ("session_node", "executor_node", "learner_node"):
                    self._state.heard(node)

    def _on_log(self, message: Log) -> None:
        level = message.level if isinstance(message.level, int) else message.level[0]
        if level >= 30:
            self._state.warning(message.name.rpartition(".")[2], _LOG_LEVELS.get(level, "warning"), message.msg)

    def _every_second(self) -> None:
        self._state.sample()
        if self._watched:
            self._look_at_nodes()

    def _look_at_nodes(self) -> None:
        own = self.get_namespace()
        self._in_sight |= {
            name
            for name, namespace in self.get_node_names_and_namespaces()
            if namespace == own and name.endswith("_node")
        }
        costs = self._processes.look()
        rows: list[dict[str, Any]] = []
        for name in sorted(self._in_sight | set(costs)):
            cost = costs.get(name)
            age = self._state.age(name)
            state = "ok"
            if name in costs and cost is None:
                state = "dead"
            elif age is not None and cost is not None and age > cost.since:
                state = "starting"  # the last word was that of the process before
            elif age is not None and age > _LATE.get(name, 3.0):
                state = "late"
            row = {"name": name, "state": state, "age": age, "rate": self._rate(name)}
            rows.append({**row, "cpu": cost.cpu if cost else None, "memory": cost.memory if cost else None})
        self._state.nodes(rows)

    def _rate(self, name: str) -> str:
        state = self._state
        if name == "executor_node":
            return f"{state.value('executor', 'rate') or 0:.0f} ticks/s"
        if name == "learner_node":
            return f"{state.value('learner', 'updates_per_s') or 0:.0f} updates/s"
        if name == "session_node":
            return f"{state.rate(name):.0f} heartbeats/s"
        return str(state.value(f"diagnostics {name}", "message") or "")


def main() -> None:
    """Run the node."""
    run(ConsoleNode)
