"""The simulated bimanual cell: stands in for the robot's driver, three cameras and, if asked, the human.

Publishes: `joint_states` (JointState), `<camera>/color/image_raw` (Image), `<camera>/color/camera_info` (CameraInfo),
`ground_truth` (GroundTruth), `/diagnostics` (DiagnosticArray), with a simulated human `joy` (Joy).
Subscribes: `forward_position_controller/commands` (Float64MultiArray), with a simulated human `session` (SessionState).
Services: `~/reset` (ResetCell).
Parameters: `rlt_ros.sim.config.SimParameters`.
"""

from __future__ import annotations

import math
import threading
import time
from array import array

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Float64MultiArray

from rlt_ros import msg, srv
from rlt_ros.cameras.camera import Frame, Intrinsics
from rlt_ros.cameras.sets import SetBuilder
from rlt_ros.control.realtime import PeriodicThread
from rlt_ros.refusals import Refusals
from rlt_ros.ros.fields import to_stamp
from rlt_ros.ros.image_output import ImageOutput
from rlt_ros.ros.node import read_parameters, run
from rlt_ros.ros.qos import COMMAND_QOS, EVENT_QOS, LATCHED_QOS
from rlt_ros.ros.teller import Teller
from rlt_ros.sim.cell import CONTROL_PERIOD, Cell
from rlt_ros.sim.config import SimParameters
from rlt_ros.sim.human import SimulatedHuman
from rlt_ros.sim.looks import fine, show_people
from rlt_ros.sim.names import CAMERA_NAMES, JOINT_NAMES
from rlt_ros.sim.tasks import get_task
from rlt_ros.teleop.config import TeleopParameters
from rlt_ros.types import Phase

_COMMANDS = "forward_position_controller/commands"
_DEAF_TICKS = 5
"""Control periods after a reset in which commands that were on their way are ignored."""


class SimNode(Node):
    """One thread owns physics and rendering; callbacks leave commands and reset requests for it."""

    def __init__(self) -> None:
        """Build the cell and start it in real time."""
        super().__init__("sim_node")
        p = self._config = read_parameters(self, SimParameters)
        task = get_task(p.task, clearance=p.clearance or None, setting=p.setting)
        self._cell = Cell(task, image_size=p.image_size, seed=p.seed, randomisation=p.randomisation, dressed=p.viewer)
        self._refusals = Refusals()
        Teller(self, self._refusals)
        self._command = self._cell.command
        self._deaf = 0
        self._ticks = 0
        self.failure = ""
        self._reset_request: srv.ResetCell.Request | None = None
        self._reset_done = threading.Event()
        self._viewer = None
        self._joint_states = self.create_publisher(JointState, "joint_states", 10)
        self._ground_truth = self.create_publisher(msg.GroundTruth, "ground_truth", 10)
        self._sets = SetBuilder(CAMERA_NAMES, 0.0)
        self._output = ImageOutput(self, CAMERA_NAMES)
        self._lenses = {name: self._lens(name) for name in CAMERA_NAMES}
        self.create_subscription(Float64MultiArray, _COMMANDS, self._on_command, COMMAND_QOS)
        self.create_service(srv.ResetCell, "~/reset", self._on_reset)
        self._human: SimulatedHuman | None = None
        if p.human:
            self._human = SimulatedHuman(
                p.human_patience,
                p.demonstrations,
                np.random.default_rng(p.seed),
                linear_speed=TeleopParameters.linear_speed,
                angular_speed=TeleopParameters.angular_speed,
                gripper_speed=TeleopParameters.gripper_speed,
            )
            self._phase = Phase.IDLE
            self._joy = self.create_publisher(Joy, "joy", EVENT_QOS)
            self.create_subscription(msg.SessionState, "session", self._on_session, LATCHED_QOS)
        self._loop = PeriodicThread(CONTROL_PERIOD, self._tick, self._failed)
        self._loop.start(p.priority)

    def _lens(self, camera: str) -> Intrinsics:
        size = self._config.image_size
        focal = size / 2 / math.tan(math.radians(float(self._cell.model.camera(camera).fovy[0])) / 2)
        return Intrinsics(focal, focal, size / 2, size / 2)

    def close(self) -> None:
        """Stop the physics."""
        self._loop.stop()

    def _on_command(self, message: Float64MultiArray) -> None:
        command = np.array(message.data, dtype=np.float64)
        if command.shape != (len(JOINT_NAMES),) or not np.isfinite(command).all():
            finite = int(np.isfinite(command).sum())
            told = f"{command.size} values, {finite} finite; expected {len(JOINT_NAMES)} finite ones"
            self._refusals.refuse("command_malformed", told)
            return
        if not self._deaf and self._reset_request is None:
            self._command = command

    def _on_session(self, message: msg.SessionState) -> None:
        try:
            self._phase = Phase(message.phase)
        except ValueError as error:
            self._refusals.refuse("session_malformed", str(error))

    def _on_reset(self, request: srv.ResetCell.Request, response: srv.ResetCell.Response) -> srv.ResetCell.Response:
        self._reset_done.clear()
        self._reset_request = request
        response.success = self._reset_done.wait(2.0) and not self.failure
        response.message = "" if response.success else "the physics loop did not answer"
        return response

    def _tick(self, _now: float) -> None:
        request = self._reset_request
        if request is not None:
            self._cell.reset(request.seed if request.use_seed else None)
            self._command = self._cell.command
            self._deaf = _DEAF_TICKS
            self._reset_request = None
            self._reset_done.set()
        self._deaf = max(0, self._deaf - 1)
        self._cell.step(self._command)
        captured = time.time()
        stamp = to_stamp(captured)
        state = JointState(name=list(JOINT_NAMES))
        state.header.stamp = stamp
        state.position = array("d", self._cell.position)
        state.velocity = array("d", self._cell.velocity)
        self._joint_states.publish(state)
        place = self._cell.insertion()
        truth = msg.GroundTruth(
            depth=place.depth,
            lateral=place.lateral,
            angle=place.angle,
            success=place.success,
            force=self._cell.force,
            stopped=place.stopped,
        )
        truth.header.stamp = stamp
        self._ground_truth.publish(truth)
        if self._human is not None:
            axes, buttons = self._human(self._cell, self._phase)
            joy = Joy(axes=array("f", axes), buttons=buttons)
            joy.header.stamp, joy.header.frame_id = stamp, "simulated human"
            self._joy.publish(joy)
        if self._ticks % self._config.image_every == 0:
            self._publish_images(captured)
        self._ticks += 1
        if self._config.viewer:
            self._show()

    def _publish_images(self, captured: float) -> None:
        """Pictures go out as a camera's do: through the set builder, as one set."""
        for name, pixels in self._cell.render().items():
            made = self._sets.add(name, Frame(pixels, captured, captured, self._ticks))
            if made is not None:
                pictures = {camera: frame.image for camera, frame in made.frames.items()}
                self._output.publish(made.captured, pictures, self._lenses)

    def _show(self) -> None:
        """MuJoCo's own window, opened once, at half the control rate."""
        if self._viewer is None:
            import mujoco.viewer  # only here: needs a display

            with fine(self._cell.model):
                self._viewer = mujoco.viewer.launch_passive(
                    self._cell.model, self._cell.data, show_left_ui=False, show_right_ui=False
                )
            show_people(self._viewer.opt)
            self._viewer.cam.lookat[:] = [0.0, 0.5, 0.25]
            self._viewer.cam.distance, self._viewer.cam.azimuth, self._viewer.cam.elevation = 1.0, 60.0, -22.0
        if self._ticks % 2 == 0 and self._viewer.is_running():
            self._viewer.sync()

    def _failed(self, error: Exception) -> None:
        self.failure = f"the physics loop stopped: {error!r}"
        self.get_logger().fatal(self.failure)


def main() -> None:
    """Run the node."""
    run(SimNode)
