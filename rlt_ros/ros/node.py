"""What all nodes share: parameters from dataclasses, QoS, clocks, managed life cycle, orderly shutdown."""

from __future__ import annotations

import dataclasses
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor, TimeoutException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from rlt_ros import endings
from rlt_ros.config import ConfigError, from_mapping
from rlt_ros.ros.clock import STEADY

T = TypeVar("T")
_DISCONNECT_WITHIN = 10.0
"""Seconds: Fast DDS has been seen to wait for ever for a timer of a writer that it deletes."""


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
            node.destroy_guard_condition,
        )
        if not any(forget(handle) for forget in known):
            handle.destroy()


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
            endings.within(_DISCONNECT_WITHIN)
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
