"""Episodes: reset, phases, outcomes, time-outs, throughput.

Publishes: `session` (SessionState, latched, repeated as heartbeat), `episode` (EpisodeEvent), `/diagnostics`
(DiagnosticArray).
Subscribes: `step` (ControlStep), `<success_topic>` (GroundTruth or Bool) if one is configured, `policy_input`
(PolicyInput) where the bundle's phase head proposes or performs the hand-over.
Services called: `<reset_service>` (ResetCell) if one is configured.
Services: `~/start`, `~/stop`, `~/begin_critical`, `~/reset_done` (Trigger), `~/label` (Label).
Parameters: `rlt_ros.session.config.SessionParameters`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from rlt_ros import msg, srv
from rlt_ros.refusals import Refusals
from rlt_ros.ros.clock import LoopClock
from rlt_ros.ros.convert import event_to_msg, session_to_msg
from rlt_ros.ros.ears import Ears
from rlt_ros.ros.fields import from_stamp
from rlt_ros.ros.node import read_parameters, run
from rlt_ros.ros.qos import HISTORY_QOS, LATCHED_QOS, RECORD_QOS, SENSOR_QOS
from rlt_ros.ros.teller import Teller
from rlt_ros.session.config import SessionParameters
from rlt_ros.session.episodes import Event, EventKind, Session, SessionError
from rlt_ros.types import Outcome, Phase

_RATE = 50.0
"""Looks at the clock a second."""
_HEARTBEAT = 0.2
_SENSOR_GAP = 1.0
"""Seconds between two words of a success sensor that still are one."""
_RESET_TIMEOUT = 10.0
_RESET_PATIENCE = 5.0
"""Seconds for which a service that is not there yet is waited for in silence."""


class SessionNode(Node):
    """Connects the state machine to the graph."""

    def __init__(self) -> None:
        """Read the parameters and connect."""
        super().__init__("session_node")
        p = self._config = read_parameters(self, SessionParameters)
        p.check()
        self._time = LoopClock(self)
        self._refusals = Refusals()
        self._session = Session(p, p.episodes_before)
        self._epoch = max(time.time_ns() // 1_000_000, p.epoch_before + 1)
        self._next_heartbeat = 0.0
        self._steps_seen = False
        self._learner_deadline = self._time.now() + p.learner_wait
        self._started = False
        self._reset: Future | None = None
        self._reset_since = 0.0
        self._success_since: float | None = None
        self._success_heard = 0.0
        self._states = self.create_publisher(msg.SessionState, "session", LATCHED_QOS)
        self._events = self.create_publisher(msg.EpisodeEvent, "episode", HISTORY_QOS)
        self.create_subscription(msg.ControlStep, "step", self._on_step, RECORD_QOS)
        if p.success_topic and p.success_type == "bool":
            Ears(self, Bool, p.success_topic, self._on_success)
        elif p.success_topic:
            self.create_subscription(msg.GroundTruth, p.success_topic, self._on_ground_truth, SENSOR_QOS)
        if p.handover != "manual":
            self.create_subscription(msg.PolicyInput, "policy_input", self._on_policy_input, SENSOR_QOS)
        self._reset_client = self.create_client(srv.ResetCell, p.reset_service) if p.reset_service else None
        for name in ("start", "stop", "begin_critical", "reset_done"):
            self.create_service(Trigger, f"~/{name}", self._trigger(getattr(self._session, name), name))
        self.create_service(srv.Label, "~/label", self._label)
        self.create_timer(1 / _RATE, self._tick)
        Teller(self, self._refusals)

    def _tick(self) -> None:
        now = self._time.now()
        session = self._session
        if self._config.autostart and not self._started and self._steps_seen and self._learner_ready():
            self._started = True
            if session.phase is Phase.IDLE:
                self._changed(now, session.start(now))
        self._look_after_reset(now)
        events = session.tick(now)
        if events or now >= self._next_heartbeat:
            self._changed(now, events)

    def _learner_ready(self) -> bool:
        """Robot time is dear: the first episodes should find a learner, but none is waited for without end."""
        return self.count_publishers(self.resolve_topic_name("policy")) > 0 or self._time.now() > self._learner_deadline

    def _look_after_reset(self, now: float) -> None:
        """Have the scene reset by a service, again if it fails; without one somebody calls `~/reset_done`."""
        client, pending = self._reset_client, self._reset
        if client is None:
            return
        if not self._session.wants_reset:
            self._reset = None  # an answer to a reset that somebody else ended means nothing
            return
        if pending is None:
            if not client.service_is_ready():
                if now - self._session.phase_since > _RESET_PATIENCE:
                    self._refusals.refuse("reset_unavailable", client.srv_name)
                return
            self._reset, self._reset_since = client.call_async(srv.ResetCell.Request()), now
        elif pending.done():
            self._reset = None
            result = pending.result()
            if result is not None and result.success:
                self._changed(now, self._session.reset_done(now))
            else:
                self._refusals.refuse("reset_failed", result.message if result else "no answer")
        elif now - self._reset_since > _RESET_TIMEOUT:
            self._refusals.refuse("reset_failed", f"{client.srv_name} did not answer in {_RESET_TIMEOUT:.0f} s")
            client.remove_pending_request(pending)
            self._reset = None

    def _on_step(self, message: msg.ControlStep) -> None:
        self._steps_seen = True
        session = self._session
        stopped = message.state == msg.ControlStep.STATE_ESTOP
        session.held = stopped or message.reason == "mode_hold"
        ours = message.epoch == self._epoch and message.episode == session.episode
        if not ours or message.phase not in (msg.SessionState.PHASE_BASE, msg.SessionState.PHASE_CRITICAL):
            return
        if stopped:
            now = self._time.now()
            self._told(now, session.stopped(now))
            return
        human, held = message.state == msg.ControlStep.STATE_HUMAN, message.state == msg.ControlStep.STATE_HOLD
        session.step(from_stamp(message.header.stamp), human, held=held)

    def _on_policy_input(self, message: msg.PolicyInput) -> None:
        if message.critical < 0:
            self._refusals.refuse("phase_head_missing")
            return
        session, now = self._session, self._time.now()
        proposed = session.critical_proposed
        events = session.phase_head(now, message.critical)
        if events or session.critical_proposed != proposed:
            self._changed(now, events)
        if session.critical_proposed and not proposed:
            self.get_logger().info("the hard part seems to begin: call ~/begin_critical")

    def _on_success(self, message: Bool) -> None:
        now = self._time.now()
        if not message.data:
            self._success_since = None
            return
        # A sensor that goes on saying so since before the episode began tells of the scene that was not put back yet.
        goes_on = self._success_since is not None and now - self._success_heard < _SENSOR_GAP
        self._success_since, self._success_heard = self._success_since if goes_on else now, now
        assert self._success_since is not None
        if self._session.running and self._success_since < self._session.episode_since:
            self._refusals.refuse("success_before_episode")
            return
        self._told(now, self._session.observed(now, Outcome.SUCCESS))

    def _on_ground_truth(self, message: msg.GroundTruth) -> None:
        if message.success or message.stopped:
            outcome = Outcome.SUCCESS if message.success else Outcome.FAILURE
            now = self._time.now()
            at = self._time.local(from_stamp(message.header.stamp))
            if at is None:
                self._refusals.refuse("success_clock", f"{self._time.ros() - from_stamp(message.header.stamp):.1f} s")
            at = now if at is None else min(at, now)
            if self._session.running and at < self._session.episode_since:
                self._refusals.refuse("success_before_episode")
                return
            self._told(now, self._session.observed(at, outcome))

    def _trigger(
        self, call: Callable[[float], list[Event]], name: str
    ) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
        def answer(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            try:
                now = self._time.now()
                self._changed(now, call(now))
                response.success, response.message = True, f"{name}: phase {self._session.phase.name}"
            except SessionError as error:
                response.message = str(error)
            return response

        return answer

    def _label(self, request: srv.Label.Request, response: srv.Label.Response) -> srv.Label.Response:
        now = self._time.now()
        try:
            if request.outcome == srv.Label.Request.OUTCOME_UNDO:
                events = self._session.undo(now)
            else:
                events = self._session.label(now, Outcome(request.outcome))
            self._changed(now, events)
            response.success, response.message = True, self._session.outcome.name
        except (SessionError, ValueError) as error:
            response.message = str(error)
        return response

    def _told(self, now: float, events: list[Event]) -> None:
        """What the robot and the scene report changes something, or is nothing new."""
        if events:
            self._changed(now, events)

    def _changed(self, now: float, events: list[Event]) -> None:
        """Publish events, then the state."""
        for event in events:
            self._events.publish(event_to_msg(event, self.get_namespace(), self._epoch, self._time.stamp(event.time)))
            if event.kind in (EventKind.END, EventKind.LABEL, EventKind.UNDO):
                statistics = self._session.statistics
                self.get_logger().info(
                    f"episode {event.episode}: {event.outcome.name.lower()} after {event.duration:.1f} s, "
                    f"{'actor' if event.actor_enabled else 'reference'}; last 20: "
                    f"{statistics.success_rate:.0%}, {statistics.recent_per_10min:.0f} per 10 min, "
                    f"human {statistics.intervention_share:.0%}"
                )
        self._next_heartbeat = now + _HEARTBEAT
        message = session_to_msg(self._session, self._epoch, now, self._time.stamp(now), self._config.task)
        self._states.publish(message)


def main() -> None:
    """Run the node."""
    run(SessionNode)
