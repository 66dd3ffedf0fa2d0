"""Settings of stage 1, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from rlt_ros.cameras.sets import MAX_SKEW
from rlt_ros.config import ConfigError, named, param

HORIZON = 50
"""Rows of the reference chunk (H)."""


@dataclass(frozen=True)
class AdaptConfig:
    """How stage 1 is trained.

    Attributes:
        eyes: gradient steps of the eyes, which are taught first and frozen then.
        eyes_batch: observations of such a step.
        eyes_rate: peak of its schedule.
        steps: gradient steps of VLA and token together.
        token_steps: gradient steps of the token alone afterwards, on the frozen VLA.
        batch: observations a step.
        token_batch: of these, observations used for the token's loss while the VLA is trained too.
        learning_rate: peak of a cosine schedule with warm-up.
        weight_decay: AdamW's.
        alpha: weight of `L_vla` against `L_ro`.
        grounding: weight of the loss that makes the eyes say where the parts are; used where the demonstrations
            know it.
        context_dropout: share of teacher-forced embeddings hidden from the token's decoder.
        held_out: share of the episodes kept for the probe and the validation loss.
        seed: of weights and batches.
    """

    eyes: int = 20000
    eyes_batch: int = 32
    eyes_rate: float = 2e-3
    steps: int = 10000
    token_steps: int = 4000
    batch: int = 64
    token_batch: int = 32
    learning_rate: float = 8e-4
    weight_decay: float = 1e-3
    alpha: float = 1.0
    grounding: float = 1.0
    context_dropout: float = 0.9
    held_out: float = 0.1
    seed: int = 0

    @property
    def total(self) -> int:
        """Gradient steps in all."""
        return self.eyes + self.steps + self.token_steps


@dataclass(frozen=True)
class VlaParameters:
    """Of `vla_node`."""

    bundle: str = param("", "directory of the VLA bundle")
    robot: str = param("", "name of the robot, as the bundle's `robot` has it; empty: it is not compared")
    task: str = param("", "task whose instruction the VLA is told; one the bundle does not know: its first")
    instruction: str = param("", "what the VLA is told instead; empty: the instruction of the task")
    robot_file: str = param(
        "", "description of the robot (robot.yaml): who tells of its joints; empty: they are on joint_states"
    )
    joints: tuple[str, ...] = param(("",), "the robot's joints; the bundle's must be among them; empty: any")
    cameras: tuple[str, ...] = param(("",), "the robot's cameras; the bundle's must be among them; empty: any")
    crops: tuple[int, ...] = param(
        (0,),
        "x, y, width, height of what the model sees of each of `cameras`; a single 0: the largest square",
        unit="px",
    )
    providers: tuple[str, ...] = param(
        ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
        "ONNX Runtime execution providers in order of preference",
    )
    threads: int = param(1, "threads of one forward pass on the CPU", low=1, high=64)
    max_joint_age: float = param(0.05, "largest distance of joint state and picture", unit="s", low=0.0, high=5.0)
    max_camera_skew: float = param(MAX_SKEW, "largest time between the pictures of a set", unit="s", low=0.0, high=1.0)
    backfill: float = param(
        0.0,
        "for a slow VLA: so many sets of pictures a second that it has no time for in the critical phase are kept, and "
        "their tokens replace the held ones in the replay between episodes (topic `backfill`); 0: none",
        unit="1/s",
        low=0.0,
        high=100.0,
    )
    autostart: bool = param(True, "configure and activate at start")

    @property
    def crop_boxes(self) -> dict[str, tuple[int, int, int, int]]:
        """The crop of every camera that has one.

        Raises:
            ConfigError: the list does not fit `cameras`.
        """
        if not any(self.crops):
            return {}
        cameras, c = named(self.cameras), self.crops
        if len(c) != 4 * len(cameras):
            raise ConfigError(f"crops has {len(c)} entries for {len(cameras)} cameras: x, y, width, height of each")
        return {name: (c[4 * k], c[4 * k + 1], c[4 * k + 2], c[4 * k + 3]) for k, name in enumerate(cameras)}
