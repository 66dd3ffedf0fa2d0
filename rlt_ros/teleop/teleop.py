"""From what a human holds to a stream of joint targets and a list of wishes. Pure logic on one clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from rlt_ros.teleop.mapping import Function, Mapping, Source
from rlt_ros.types import Array

if TYPE_CHECKING:
    from mink import SE3

    from rlt_ros.teleop.kinematics import Arms
from rlt_ros.teleop.config import ArmSlots, TeleopConfig

_AXES = 6
"""Of a motion, beside the gripper: x, y, z, roll, pitch, yaw; or as many single joints."""
_LONGEST_STEP = 0.05
"""Seconds of motion that one tick may make up for."""
_JOYSTICK_SILENT = 0.2
"""Seconds without a word of the joystick that ends an intervention; at 50 Hz, ten lost messages."""
_LEADER_SILENT = 0.1
"""Seconds without a joint state of the leader arm in which the robot still follows its last one."""
_COMMAND_OLD = 0.2
"""Seconds after which a command of the executor is no place to start from."""
_INACTIVE_FOR = 0.5
"""Seconds over which the end of an intervention is repeated: its messages may be lost."""


class Grip(Enum):
    """Whether the human flies."""

    OFF = "off"
    ON = "on"
    RELEASED = "released"
    LOST = "lost"


@dataclass(frozen=True)
class Wish:
    """What `intervention` is to say now.

    Attributes:
        active: a human flies.
        target: joint targets, shape (J,); None: hold still.
    """

    active: bool
    target: Array | None = None


class Teleop:
    """Feed it joystick, commands and leader arm; call `tick` 50 times a second."""

    def __init__(
        self, config: TeleopConfig, mapping: Mapping | None, kinematics: Arms | None, arms: Sequence[ArmSlots]
    ) -> None:
        """Start with the human's hands off.

        Args:
            config: parameters.
            mapping: of the joystick; None: services alone.
            kinematics: the robot's; None: only single joints and leader arms move.
            arms: places of each arm among the joints.
        """
        self.config = config
        self.grip = Grip.OFF
        self.chosen = 0
        self._pages = max(1, -(-max(len(arm.joints) for arm in arms) // _AXES))
        self._page = 0 if kinematics is None else -1
        self.malformed = 0
        self._mapping = mapping
        self._kinematics = kinematics
        self._arms = tuple(arms)
        self._gripped = [number for number, arm in enumerate(arms) if arm.gripper >= 0]
        self._grippers = np.array([arms[number].gripper for number in self._gripped], dtype=np.intp)
        self._held: set[Function] = set()
        self._awake: set[Source] = set()
        self._motion = np.zeros((len(arms), _AXES + 1))
        self._joy_time = -np.inf
        self._by_service = self._released_by_service = False
        self._command: Array | None = None
        self._command_time = -np.inf
        self._leader: Array | None = None
        self._leader_time = -np.inf
        self._target: Array | None = None
        self._poses: list[SE3] | None = None
        self._released_at = -np.inf
        self._ticked = -np.inf

    # -- what arrives --------------------------------------------------------------------------------------

    def joy(self, now: float, axes: Sequence[float], buttons: Sequence[int]) -> list[Function]:
        """A joystick's message; returns the functions that were pressed with it, in the order of their buttons."""
        mapping = self._mapping
        if mapping is None:
            return []
        if not mapping.fits(axes, buttons):
            self.malformed += 1
            return []
        held = mapping.held(buttons)
        # After a silence nobody knows when a button was pressed: only what is pressed from now on counts.
        fresh = now - self._joy_time <= _JOYSTICK_SILENT
        pressed = [
            function
            for function in mapping.buttons.values()
            if function in held - self._held and (fresh or function is Function.ESTOP)
        ]
        if not fresh:
            self._awake = set()
        self._awake |= mapping.at_rest(axes, buttons)
        lost_grip = Function.TAKEOVER in self._held - held
        self._held, self._joy_time = held, now
        if Function.SWITCH_ARM in pressed:
            self.chosen = (self.chosen + 1) % len(self._arms)
        if Function.SINGLE_JOINTS in pressed:
            last = self._page + 1 == self._pages
            self._page = self._page + 1 if not last else 0 if self._kinematics is None else -1
        self._motion = mapping.motion(axes, buttons, self.chosen, len(self._arms), self._asleep)
        if Function.TAKEOVER in pressed:
            if self.config.toggle and self.grip is Grip.ON:
                self._release(now)
            elif self._take(now):
                self._by_service = False
        elif lost_grip and not self.config.toggle and self.grip is Grip.ON and not self._by_service:
            self._release(now)
        return pressed

    @property
    def single_joints(self) -> bool:
        """Sticks move single joints, not the gripper's frame."""
        return self._page >= 0

    @property
    def _asleep(self) -> set[Source]:
        return set(self._mapping.motions.values()) - self._awake if self._mapping is not None else set()

    @property
    def asleep(self) -> list[str]:
        """Motions whose axis or button was not seen at its rest since the device speaks: they move nothing."""
        return self._mapping.names(self._asleep) if self._mapping is not None else []

    def use(self, mapping: Mapping) -> None:
        """The joystick's mapping, once it is known."""
        self._mapping = mapping

    def command(self, now: float, command: Array) -> None:
        """The executor's last command, shape (J,)."""
        self._command, self._command_time = command, now

    def leader(self, now: float, position: Array) -> None:
        """Joint positions of leader arms, in the order of the robot's joints; gripper 0-1, NaN where nobody leads."""
        self._leader, self._leader_time = position, now

    def leader_is_silent(self, now: float) -> bool:
        """Whether somebody flies by a leader arm that does not speak: the robot holds still."""
        return self.grip is Grip.ON and now - self._leader_time > _LEADER_SILENT

    def intervene(self, now: float, active: bool) -> str:
        """Take over, holding still, or give back, without a joystick; returns why that is impossible, or ""."""
        if active:
            self._by_service = self._take(now)
            return "" if self._by_service else "no command of executor_node has come: is it running?"
        self._by_service = False
        if self.grip is Grip.OFF:
            self._released_at = now - self.config.release_time  # an executor may still wait for somebody's end
        else:
            self._release(now, by_service=True)
        return ""

    # -- one tick ------------------------------------------------------------------------------------------

    def tick(self, now: float) -> Wish | None:
        """What to publish now; None: nothing. Silence while a human flies makes the executor hold, latched."""
        elapsed = min(now - self._ticked, _LONGEST_STEP)
        self._ticked = now
        if self.grip is Grip.LOST:
            return None
        silent = now - self._joy_time > _JOYSTICK_SILENT
        if self.grip is Grip.ON:
            if silent and not self._by_service:
                self.grip = Grip.LOST
                return None
            if self._by_service:
                return Wish(True)  # until somebody holds the button
            return Wish(True, self._moved(now, elapsed))
        if now - self._released_at < self.config.release_time:
            if silent and not self._released_by_service:
                # A device that is pulled out may say that its buttons were released: that is no wish to hand back.
                self.grip = Grip.LOST
                return None
            return Wish(True)
        self.grip = Grip.OFF
        return Wish(False) if now - self._released_at < self.config.release_time + _INACTIVE_FOR else None

    def _take(self, now: float) -> bool:
        if self._command is None or now - self._command_time > _COMMAND_OLD:
            return False
        if self.grip is not Grip.ON:
            self.grip = Grip.ON
            self._target, self._poses = self._command.copy(), None
        return True

    def _release(self, now: float, *, by_service: bool = False) -> None:
        self.grip, self._released_at, self._by_service = Grip.RELEASED, now, False
        self._released_by_service = by_service

    def _moved(self, now: float, elapsed: float) -> Array:
        """The next joint targets; they start from the last command and never run far from it."""
        assert self._target is not None and self._command is not None
        before = self._target
        if self.config.source == "leader":
            target = self._followed(now, before, elapsed)
        elif self.single_joints or self._kinematics is None:
            target, self._poses = self._joints_moved(before, elapsed), None
        else:
            target = self._frames_moved(before, elapsed, self._kinematics)
        leashed = np.clip(target, self._command - self.config.leash, self._command + self.config.leash)
        if not np.allclose(leashed, target, atol=1e-9):
            self._poses = None
        self._target = leashed
        return leashed

    def _followed(self, now: float, before: Array, elapsed: float) -> Array:
        if self._leader is None or now - self._leader_time > _LEADER_SILENT:
            return before
        way = np.full(len(before), self.config.joint_speed * elapsed)
        way[self._grippers] = self.config.gripper_speed * elapsed
        led = np.where(np.isnan(self._leader), before, self._leader)
        return np.asarray(before + np.clip(led - before, -way, way))

    def _joints_moved(self, before: Array, elapsed: float) -> Array:
        """Six joints of each arm, one an axis: those of the page that is chosen."""
        target, first = before.copy(), self._page * _AXES
        for arm, motion in zip(self._arms, self._motion, strict=True):
            joints = list(arm.joints[first : first + _AXES])
            target[joints] += motion[: len(joints)] * self.config.joint_speed * elapsed
        return self._with_grippers(target, elapsed)

    def _frames_moved(self, before: Array, elapsed: float, kinematics: Arms) -> Array:
        from rlt_ros.teleop.kinematics import moved  # only where there is a model

        config = self.config
        if self._motion[:, :_AXES].any():
            poses = kinematics.poses(before) if self._poses is None else self._poses
            self._poses = []
            for pose, motion in zip(poses, self._motion, strict=True):
                step = moved(
                    pose, motion[:3] * config.linear_speed * elapsed, motion[3:6] * config.angular_speed * elapsed
                )
                # Who starts outside may come in, but goes no further out.
                low = np.minimum(config.workspace_low, pose.translation())
                high = np.maximum(config.workspace_high, pose.translation())
                inside = np.clip(step.translation(), low, high)
                self._poses.append(moved(step, inside - step.translation(), np.zeros(3)))
            target = kinematics.towards(before, self._poses)
        else:
            target = before.copy()
        return self._with_grippers(target, elapsed)

    def _with_grippers(self, target: Array, elapsed: float) -> Array:
        way = self._motion[self._gripped, _AXES] * self.config.gripper_speed * elapsed
        target[self._grippers] = np.clip(target[self._grippers] + way, 0, 1)
        return target
