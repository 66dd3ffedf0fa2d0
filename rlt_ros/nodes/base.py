"""What all nodes share: parameters from dataclasses, QoS, clocks, managed life cycle, orderly shutdown."""

from __future__ import annotations

import dataclasses
import sys
import time
import traceback
from array import array
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import rclpy
from builtin_interfaces.msg import Duration, Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from numpy.typing import NDArray
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor, TimeoutException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from rlt_ros import endings
from rlt_ros.config import ConfigError, from_mapping
from rlt_ros.refusals import Refusals

T = TypeVar("T")

STEADY = Clock(clock_type=ClockType.STEADY_TIME)
"""For timers that must not stand still with a simulated clock."""

SENSOR_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""For consumers of pictures and joint states: the newest one or none."""
COMMAND_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""Volatile: a late joiner never gets an old command."""
LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Weights, session: the last one is kept for whoever joins."""
PICTURES_QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
"""For who wants every picture: drivers offer best effort, and match nobody who asks for more."""
EVENT_QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
"""Joysticks: every press and release counts."""
RECORD_QOS = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
"""Steps and events: 20 s of history, so that a busy reader loses nothing."""
HISTORY_QOS = QoSProfile(
    depth=1000, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
"""The same, given to late joiners too: a recorder or learner that starts again asks for what it missed."""


def read_parameters(node: Node, cls: type[T]) -> T:
    """Declare the fields of `cls` as read-only ROS parameters and read them.

    Raises:
        ConfigError: a value is wrong, or a parameter was given that the node does not have.
    """
    values = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        description = field.metadata["description"]
        if field.metadata["unit"]:
            description += f" [{field.metadata['unit']}]"
        descriptor = ParameterDescriptor(description=description, read_only=True, dynamic_typing=True)
        values[field.name] = node.declare_parameter(field.name, default, descriptor).value
    given = {name for name in node._parameter_overrides if not name.startswith(("qos_overrides.", "use_sim_time"))}
    unknown = dict.fromkeys(given - set(values))
    return from_mapping(cls, {**values, **unknown}, node.get_name())


def robots_of(node: Node, robots: tuple[str, ...]) -> list[str]:
    """Namespaces of the robots that a node listens to, without a slash at the end; by default its own."""
    own = node.get_namespace().rstrip("/")
    return [f"/{robot.strip('/')}" if robot.strip("/") else own for robot in robots]


def floats(values: NDArray[Any]) -> array[float]:
    """For a float32[] field: message setters check other sequences element by element."""
    out = array("f")
    out.frombytes(np.ascontiguousarray(values, dtype=np.float32).tobytes())
    return out


def doubles(values: NDArray[Any]) -> array[float]:
    """For a float64[] field."""
    out = array("d")
    out.frombytes(np.ascontiguousarray(values, dtype=np.float64).tobytes())
    return out


def octets(data: bytes) -> array[int]:
    """For a uint8[] field."""
    out = array("B")
    out.frombytes(data)
    return out


def to_stamp(seconds: float) -> Time:
    """Seconds since the epoch as a ROS time stamp."""
    nanoseconds = round(seconds * 1e9)
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def to_duration(seconds: float) -> Duration:
    """Seconds as a ROS duration message."""
    nanoseconds = round(seconds * 1e9)
    return Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def from_stamp(stamp: Time) -> float:
    """A ROS time stamp as seconds since the epoch."""
    return float(stamp.sec + stamp.nanosec * 1e-9)


def destroy(node: Node, handles: Iterable[Any]) -> None:
    """Destroy what a node created while it goes on spinning.

    The node must forget it too: their own `destroy` leaves an executor with handles that are no more. Call it from
    services, guard conditions or outside of callbacks; executors of rclpy look at those last.
    """
    for handle in handles:
        known = (
            node.destroy_publisher,
            node.destroy_subscription,
            node.destroy_timer,
            node.destroy_service,
            node.destroy_client,
        )
        if not any(forget(handle) for forget in known):
            handle.destroy()


class Ears:
    """Hears a topic however it is offered: reliable or best effort, latched or not.

    DDS matches nobody who asks for more than is offered, and gives what was latched to those only who ask for it.
    """

    def __init__(self, node: Node, kind: type, topic: str, callback: Callable[[Any], None], depth: int = 10) -> None:
        """Subscribe reliably, and as others offer it once they are found.

        Args:
            node: that listens.
            kind: of messages.
            topic: to be heard.
            callback: called with every message; where one topic is offered in several ways it may come twice.
            depth: of the queue.
        """
        self._node, self._subscribe = node, partial(node.create_subscription, kind, topic, callback)
        self._topic, self._depth = topic, depth
        silent = SubscriptionEventCallbacks(use_default_callbacks=False)
        reliable = QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE)
        self._subscriptions = {"reliable": self._subscribe(reliable, event_callbacks=silent)}
        self._publishers = 0
        self._timer = node.create_timer(0.25, self._look, clock=STEADY)

    def _look(self) -> None:
        before, self._publishers = self._publishers, self._node.count_publishers(self._topic)
        if self._publishers == before:
            return
        for offered in self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(self._topic)):
            quality = offered.qos_profile
            if quality.reliability is ReliabilityPolicy.BEST_EFFORT:
                if "best effort" not in self._subscriptions:
                    eager = QoSProfile(depth=self._depth, reliability=ReliabilityPolicy.BEST_EFFORT)
                    self._subscriptions["best effort"] = self._subscribe(eager)
            elif quality.durability is DurabilityPolicy.TRANSIENT_LOCAL and "latched" not in self._subscriptions:
                self._subscriptions["latched"] = self._subscribe(LATCHED_QOS)

    def destroy(self) -> None:
        """Hear no more."""
        destroy(self._node, [self._timer, *self._subscriptions.values()])
        self._subscriptions = {}


class Teller:
    """Logs what a node refuses, throttled, and keeps its counts on `/diagnostics` while there are any."""

    def __init__(self, node: Node, *places: Refusals) -> None:
        """Look several times a second, whatever the simulated clock does.

        Args:
            node: in whose name it speaks.
            places: where refusals are counted.
        """
        self._node, self._places = node, places
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._before: dict[str, int] = {}
        self._changed = -np.inf
        self._timer = node.create_timer(0.2, self._tell, clock=STEADY)
        self._next_publication = -np.inf

    def destroy(self) -> None:
        """Say what was not said yet, and nothing more."""
        self._tell()
        destroy(self._node, [self._timer, self._publisher])

    def _tell(self) -> None:
        now = time.monotonic()
        counts: dict[str, int] = {}
        details: dict[str, str] = {}
        for place in self._places:
            for line in place.untold(now):
                self._node.get_logger().warning(line)
            for kind, count in list(place.counts.items()):
                counts[kind] = counts.get(kind, 0) + count
                details[f"{kind}/detail"] = place.detail(kind)
        if not counts or (counts == self._before and now < self._next_publication):
            return
        self._next_publication = now + 1.0
        if counts != self._before:
            self._before, self._changed = counts, now
        lately = now - self._changed < 5.0
        status = DiagnosticStatus(name=f"{self._node.get_fully_qualified_name()}: refused")
        status.level = DiagnosticStatus.WARN if lately else DiagnosticStatus.OK
        status.message = "refuses what comes" if lately else "nothing refused lately"
        values = {**counts, **{key: text for key, text in details.items() if text}}
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


class ManagedNode(LifecycleNode):
    """A lifecycle node with four hooks whose exceptions are logged instead of lost (rclpy#1673).

    Subclasses implement `setup` (configure), `start` (activate), `halt` (deactivate) and `release` (clean-up and
    shutdown); an exception in one of them is reported and the transition fails.
    """

    def __init__(self, name: str) -> None:
        """Make an unconfigured node."""
        super().__init__(name)
        self.handles: list[Any] = []
        self.failure = ""

    def setup(self) -> None:
        """Load what is needed; create publishers and subscriptions."""

    def start(self) -> None:
        """Begin to work."""

    def halt(self) -> None:
        """Stop working; also called at shutdown, maybe without `start`."""

    def release(self) -> None:
        """Disconnect: destroys what `setup` put into `handles`."""
        destroy(self, self.handles)
        self.handles = []

    def autostart(self) -> None:
        """Configure and activate.

        Raises:
            ConfigError: a transition failed; the reason is in the log.
        """
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() is not TransitionCallbackReturn.SUCCESS:
                raise ConfigError(f"{self.get_name()} could not {transition.__name__.removeprefix('trigger_')}")

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See `setup`."""
        return self._transition(self.setup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See `start`."""
        return self._transition(self.start)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See `halt`."""
        return self._transition(self.halt)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See `release`."""
        return self._transition(self.release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See `halt` and `release`."""
        return self._transition(self.halt, self.release)

    def _transition(self, *hooks: Callable[[], None]) -> TransitionCallbackReturn:
        for hook in hooks:
            try:
                hook()
            except ValueError as error:
                self.get_logger().error(str(error))
                return TransitionCallbackReturn.FAILURE
            except Exception:
                self.get_logger().error(traceback.format_exc())
                return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS


def run(make_node: Callable[[], Node], between: Callable[[Node], None] | None = None) -> None:
    """The body of every node's `main`: make it, spin until SIGINT or SIGTERM, stop it while ROS still works.

    Args:
        make_node: called after `rclpy.init`; a `ValueError` ends the process with code 2 and its message. A node
            that sets its attribute `failure` to a text ends the process with code 1.
        between: called when no callback is ready, by nodes that work in the same thread.
    """
    endings.listen()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node: Node | None = None
    code, spinning = 0, False
    try:
        node = make_node()
        if isinstance(node, ManagedNode) and node.get_parameter("autostart").value:
            node.autostart()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spinning = True
        while not endings.asked():
            _look_for_clock(node)
            if between is None:
                executor.spin_once(timeout_sec=0.1)
            else:
                _drain(executor)
                between(node)
            if getattr(node, "failure", ""):
                code = 1
                break
    except (ConfigError, ValueError) as error:
        if spinning and not isinstance(error, ConfigError):
            raise  # a fault, not a wrong configuration
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = 2
    except ExternalShutdownException:
        pass
    finally:
        if node is not None:
            if isinstance(node, ManagedNode):
                node.halt()
            close = getattr(node, "close", None)
            if close is not None:
                close()
            node.destroy_node()
        rclpy.try_shutdown()
        endings.deaf()
    sys.exit(code)


def _look_for_clock(node: Node) -> None:
    """A node that waits for a simulated clock which nobody publishes would be silent for ever."""
    clock = node.get_clock()
    if clock.ros_time_is_active and not clock.now().nanoseconds:
        node.get_logger().warning(
            "use_sim_time is set, and nobody publishes /clock: start the simulator, or leave use_sim_time out",
            throttle_duration_sec=5.0,
            throttle_time_source_type=STEADY,
            skip_first=True,
        )


def _drain(executor: SingleThreadedExecutor) -> None:
    """Run all callbacks that are ready: `spin_once` runs one, which is too few between two slices of work.

    With a timeout of 0 one pass takes one message of each topic and then tells of a timeout, whatever else waits; so
    passes go on until one finds nothing.
    """
    until, found = time.monotonic() + 0.1, False
    while True:
        try:
            handler, _, _ = executor.wait_for_ready_callbacks(timeout_sec=0.0)
        except TimeoutException:
            if not found or time.monotonic() > until:
                return
            found = False
            continue
        found = True
        handler()
        handler.result()
