"""Connector-insertion tasks as data: parts, start spread, success test, time limit, instruction."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InsertionTask:
    """A rigid plug that must be pushed into a recessed socket, one part in each gripper.

    Lengths in metres, angles in radians, times in seconds. The plug is a square bar; the socket is a
    square hole of `plug_width + 2 * clearance` with a closed end.

    Attributes:
        name: identifier on the command line.
        instruction: what the vision-language-action model is told.
        plug_width: side of the plug's square section.
        plug_length: length of the plug beyond the fingers.
        socket_depth: depth of the hole.
        wall: thickness of the socket's walls.
        clearance: free play on each side of a centred plug.
        start_gap: range of the distance between plug tip and socket mouth at the start.
        start_lateral: half range of the lateral offset at the start, along each axis.
        start_angle: half range of the misalignment at the start, about each axis.
        grasp_offset: half range of each part's position in its gripper, along each axis.
        grasp_angle: half range of each part's tilt in its gripper, about each axis.
        success_depth: insertion depth that counts as success.
        time_limit: seconds after which the episode is a failure.
        friction: sliding friction between plug and socket.
    """

    name: str
    instruction: str
    plug_width: float = 0.016
    plug_length: float = 0.040
    socket_depth: float = 0.030
    wall: float = 0.006
    clearance: float = 0.002
    start_gap: tuple[float, float] = (0.030, 0.060)
    start_lateral: float = 0.008
    start_angle: float = 0.07
    grasp_offset: float = 0.002
    grasp_angle: float = 0.05
    success_depth: float = 0.015
    time_limit: float = 10.0
    friction: float = 0.4


TASKS: dict[str, InsertionTask] = {
    task.name: task for task in (InsertionTask(name="ethernet", instruction="insert the plug into the socket"),)
}


def get_task(name: str) -> InsertionTask:
    """Return the task called `name`.

    Raises:
        ValueError: there is no such task; the message lists those that exist.
    """
    try:
        return TASKS[name]
    except KeyError:
        raise ValueError(f"unknown task '{name}': choose one of {', '.join(sorted(TASKS))}") from None
