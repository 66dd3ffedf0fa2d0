"""Episodes of the simulated cell through the real executor, with the delays of the graph, in simulated time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rlt_ros.bringup.graph import Bringup
from rlt_ros.config import from_mapping, param
from rlt_ros.control.config import ExecutorConfig, ExecutorParameters
from rlt_ros.control.executor import Executor
from rlt_ros.session.config import SessionConfig
from rlt_ros.sim.cell import CONTROL_PERIOD, Cell
from rlt_ros.sim.names import CAMERA_NAMES, JOINT_NAMES
from rlt_ros.types import ControlStep, Outcome, Phase, PolicyInput, SessionView
from rlt_ros.vla.backend import TokenSource
from rlt_ros.vla.bundle import Bundle
from rlt_ros.vla.phase import PhaseHead

_GREY = 127
_PICTURES_EVERY = 2
"""Control periods between two camera sets."""
_HANDOVER = SessionConfig()


VLA_RATE = 25.0
"""Passes a second that `rlt up sim` measures on two cores."""


@dataclass(frozen=True)
class RolloutConfig:
    """What the graph does to the data on its way."""

    vla_rate: float = param(VLA_RATE, "passes of the VLA; its answer is one pass old", unit="1/s", low=2.0, high=50.0)
    backfill: bool = param(False, "look, after the episode, at pictures for which the VLA had no time in flight")
    blind: bool = param(False, "show the VLA grey pictures")

    @property
    def ticks(self) -> int:
        """Control periods between two passes, and from the pictures to the policy input's arrival."""
        return max(1, round(1 / (self.vla_rate * CONTROL_PERIOD)))


Human = Callable[[Cell, int], NDArray[np.float64] | None]
"""Joint targets, shape (J,) in the order of `JOINT_NAMES`, while a human flies in this tick of the episode."""


@dataclass(frozen=True)
class Trial:
    """How an episode ended.

    Attributes:
        success: the part is in.
        ticks: control periods until then, or until the time limit.
        depth: insertion depth at the end, m.
        lateral: lateral offset at the end, m.
        human_ticks: control periods in which the human flew.
        stopped: the robot stopped to protect the parts.
        force: largest force on the plug's grasp, N.
        grasped: both parts were held at the end.
        asked: a phase head was to begin the critical phase.
        switched: control period in which it did; None: it did not.
        switched_in_vain: it did while a part was not held.
    """

    success: bool
    ticks: int
    depth: float
    lateral: float
    human_ticks: int = 0
    stopped: bool = False
    force: float = 0.0
    grasped: bool = True
    asked: bool = False
    switched: int | None = None
    switched_in_vain: bool = False


class Rollout:
    """One cell, one VLA, one executor; `run` flies an episode."""

    def __init__(
        self,
        cell: Cell,
        backend: TokenSource,
        bundle: Bundle,
        executor: Executor,
        config: RolloutConfig | None = None,
        phase_head: PhaseHead | None = None,
    ) -> None:
        """Connect them.

        Args:
            cell: the simulated cell.
            backend: runs the bundle; it is told the bundle's instruction for the cell's task.
            bundle: the bundle.
            executor: made by `make_executor`.
            config: delays.
            phase_head: begins the critical phase, as session_node's handover `perform` does.

        Raises:
            BundleError: the bundle needs a joint or a camera that the cell lacks.
            ValueError: the bundle's period is not the cell's.
        """
        bundle.check_fits(JOINT_NAMES, CAMERA_NAMES)
        if abs(bundle.period - CONTROL_PERIOD) > 1e-6:
            raise ValueError(
                f"the bundle's rows are {bundle.period} s apart, the cell's control period {CONTROL_PERIOD} s"
            )
        self._order = np.array([JOINT_NAMES.index(name) for name in bundle.joints])
        self.cell, self.bundle, self.executor = cell, bundle, executor
        self.config = config or RolloutConfig()
        self._backend, self._phase_head = backend, phase_head
        self._now = 1.0
        self._inputs = 0
        backend.set_instruction(bundle.instruction(cell.task.name))

    @property
    def now(self) -> float:
        """Simulated time, s; it goes on from episode to episode."""
        return self._now

    @property
    def clock(self) -> tuple[float, int]:
        """Time and number of policy inputs so far; setting it goes on from there."""
        return self._now, self._inputs

    @clock.setter
    def clock(self, value: tuple[float, int]) -> None:
        self._now, self._inputs = value

    def run(
        self,
        seed: int,
        view: SessionView,
        on_input: Callable[[PolicyInput], None] = lambda _: None,
        on_step: Callable[[ControlStep], None] = lambda _: None,
        human: Human | None = None,
        on_late: Callable[[PolicyInput], None] = lambda _: None,
    ) -> Trial:
        """Reset the cell with `seed` and fly until success, protective stop or time-out.

        Args:
            seed: of the start.
            view: the session as the executor sees it; its phase must be one that moves. With a phase head it is BASE
                until that begins the critical phase.
            on_input: gets every policy input when it arrives.
            on_step: gets every tick.
            human: may take over.
            on_late: with `backfill` gets, after the episode, what the VLA says of every set of pictures.
        """
        cell, executor, pass_ticks = self.cell, self.executor, self.config.ticks
        cell.reset(seed)
        executor.forget_robot()
        executor.session(self._now, SessionView(view.epoch, view.episode, Phase.RESET))
        limit = round(cell.task.limit / CONTROL_PERIOD)
        if self._phase_head is not None:
            view = replace(view, phase=Phase.BASE)
        executor.session(self._now, view)
        said, switched, switched_in_vain = 0, None, False
        on_the_way: deque[tuple[int, PolicyInput]] = deque()
        late: list[PolicyInput] = []
        ticks, human_ticks, force = 0, 0, 0.0
        for tick in range(limit + pass_ticks + 1):
            now = self._now
            if tick % pass_ticks == 0:
                late.append(self._look(now))
                on_the_way.append((tick + pass_ticks, late[-1]))
            elif self.config.backfill and tick % _PICTURES_EVERY == 0:
                late.append(self._look(now))
            executor.joint_state(now, cell.position[self._order], cell.velocity[self._order])
            executor.session(now, view)
            target = None if human is None else human(cell, tick)
            if target is not None:
                executor.intervention(now, True, target[self._order])
                human_ticks += 1
            while on_the_way and on_the_way[0][0] <= tick:
                message = on_the_way.popleft()[1]
                executor.policy_input(now, message)
                on_input(message)
                if self._phase_head is not None and switched is None:
                    said = said + 1 if self._phase_head(message.token) >= _HANDOVER.handover_probability else 0
                    if said >= _HANDOVER.handover_passes:
                        switched, switched_in_vain = tick - pass_ticks, not cell.insertion().held
                        view = replace(view, phase=Phase.CRITICAL)
                        executor.session(now, view)
            step = executor.tick(now)
            on_step(step)
            command = cell.command
            if step.sent:
                command[self._order] = step.command
            cell.step(command)
            self._now += CONTROL_PERIOD
            # The robot's clock starts with the first policy input, as in the graph.
            ticks = tick + 1 - pass_ticks
            place, force = cell.insertion(), max(force, cell.force)
            if place.success or place.stopped or ticks >= limit:
                break
        executor.intervention(self._now, False, None)
        for message in late if self.config.backfill else ():
            on_late(message)
        return Trial(
            place.success,
            max(1, min(ticks, limit)),
            place.depth,
            place.lateral,
            human_ticks,
            stopped=place.stopped,
            force=force,
            grasped=place.held,
            asked=self._phase_head is not None,
            switched=switched,
            switched_in_vain=switched_in_vain,
        )

    def _look(self, now: float) -> PolicyInput:
        seen = self.cell.render()
        images: NDArray[np.uint8] = np.stack([seen[name] for name in self.bundle.cameras])
        if self.config.blind:
            images = np.full_like(images, _GREY)
        position = self.cell.position[self._order].astype(np.float32).astype(np.float64)
        result = self._backend.infer(images, position)
        self._inputs += 1
        return PolicyInput(
            captured=now,
            sequence=self._inputs,
            bundle_id=self.bundle.id,
            token=result.token,
            reference=result.reference.astype(np.float64),
            period=self.bundle.period,
            position=position,
        )


def make_executor(bundle: Bundle, vla_rate: float = VLA_RATE, **overrides: object) -> Executor:
    """An executor with the parameters and limits of `config/sim.yaml`.

    Args:
        bundle: the bundle in use.
        vla_rate: of the VLA; an answer of a slow one may be as old as it gets, where config/sim.yaml is stricter.
        overrides: fields of `ExecutorConfig`.
    """
    bringup = Bringup(target="sim")
    values = {**bringup.parameters("executor_node"), **overrides}
    parameters = from_mapping(ExecutorParameters, values, "executor_node")
    longest = 2 * RolloutConfig(vla_rate).ticks * CONTROL_PERIOD + CONTROL_PERIOD
    parameters = replace(parameters, max_input_age=max(parameters.max_input_age, longest))
    config = ExecutorConfig(**{name: getattr(parameters, name) for name in ExecutorConfig.__dataclass_fields__})
    return Executor(config, bundle.id, bundle.normaliser, parameters.limits(bundle.joints))


def outcome(trial: Trial) -> Outcome:
    """The outcome that the session would publish."""
    if trial.stopped:
        return Outcome.FAILURE
    return Outcome.SUCCESS if trial.success else Outcome.TIMEOUT
