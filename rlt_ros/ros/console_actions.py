"""What the buttons of the page do: each is a call of a service that has always been there."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import Any

from rclpy.node import Node
from std_srvs.srv import Trigger

from rlt_ros import srv
from rlt_ros.refusals import Refusals
from rlt_ros.ros.stop_request import StopRequest

_CALLS: dict[str, tuple[type, str, dict[str, Any]]] = {
    "clear_estop_confirmed": (Trigger, "executor_node/clear_estop", {}),
    "auto": (srv.SetMode, "executor_node/set_mode", {"mode": srv.SetMode.Request.MODE_AUTO}),
    "reference": (srv.SetMode, "executor_node/set_mode", {"mode": srv.SetMode.Request.MODE_REFERENCE}),
    "hold": (srv.SetMode, "executor_node/set_mode", {"mode": srv.SetMode.Request.MODE_HOLD}),
    "start": (Trigger, "session_node/start", {}),
    "stop": (Trigger, "session_node/stop", {}),
    "reset_done": (Trigger, "session_node/reset_done", {}),
    "begin_critical": (Trigger, "session_node/begin_critical", {}),
    "success": (srv.Label, "session_node/label", {"outcome": srv.Label.Request.OUTCOME_SUCCESS}),
    "failure": (srv.Label, "session_node/label", {"outcome": srv.Label.Request.OUTCOME_FAILURE}),
    "undo": (srv.Label, "session_node/label", {"outcome": srv.Label.Request.OUTCOME_UNDO}),
    "intervene": (srv.SetIntervention, "teleop_node/set_intervention", {"active": True}),
    "hand_back": (srv.SetIntervention, "teleop_node/set_intervention", {"active": False}),
}


class ConsoleActions:
    """Calls services by the names of buttons."""

    def __init__(self, node: Node, refusals: Refusals) -> None:
        """Look for the services; a stop without confirmation is counted in `refusals`."""
        self._stop = StopRequest(node, refusals)
        self._clients = {service: node.create_client(kind, service) for kind, service, _ in _CALLS.values()}

    def perform(self, action: str, answer: Future[tuple[bool, str]]) -> None:
        """Call the action's service; the answer comes later, that of a stop with the first stopped step."""
        if action == "estop":
            self._stop.ask(lambda reason: _tell(answer, (True, f"stopped: {reason}")))
            return
        call = _CALLS.get(action)
        if call is None:
            _tell(answer, (False, f"unknown action '{action}'"))
            return
        kind, service, values = call
        client = self._clients[service]
        if not client.service_is_ready():
            _tell(answer, (False, f"{action}: {service.partition('/')[0]} is not there"))
            return
        client.call_async(kind.Request(**values)).add_done_callback(partial(_pass_on, action, answer))


def _pass_on(action: str, answer: Future[tuple[bool, str]], done: Any) -> None:
    try:
        result = done.result()
        _tell(answer, (result.success, result.message or action))
    except Exception as error:  # whatever rclpy makes of a dead server
        _tell(answer, (False, f"{action}: {error}"))


def _tell(answer: Future[tuple[bool, str]], result: tuple[bool, str]) -> None:
    with suppress(InvalidStateError):  # nobody waits for it any more
        answer.set_result(result)
