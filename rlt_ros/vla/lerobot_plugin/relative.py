"""Chunks of actions relative to the joint positions at their beginning, for any of LeRobot's policies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lerobot.lerobot_types import EnvTransition, TransitionKey
from lerobot.processor import ProcessorStepRegistry
from lerobot.processor.relative_action_processor import AbsoluteActionsProcessorStep, RelativeActionsProcessorStep
from lerobot.utils.constants import OBS_STATE


@ProcessorStepRegistry.register("rlt_relative_to_newest_state")
class RelativeToNewestState(RelativeActionsProcessorStep):
    """LeRobot's step, also for states with a time axis: SmolVLA is trained on (B, 1, J), and served with (B, J)."""

    def __call__(self, transition: EnvTransition) -> EnvTransition:
        """Actions of a chunk less the newest joint positions."""
        observation = transition.get(TransitionKey.OBSERVATION) or {}
        state = observation.get(OBS_STATE)
        if state is None or state.ndim < 3:
            return super().__call__(transition)
        newest = transition.copy()
        newest[TransitionKey.OBSERVATION] = {**observation, OBS_STATE: state[:, -1]}
        made = super().__call__(newest)
        made[TransitionKey.OBSERVATION] = observation
        return made

    def relative_joints(self, count: int) -> list[bool]:
        """Which of the joints are relative, shape (J,)."""
        return self._build_mask(count)


def make_relative(pre: Any, post: Any, joints: Sequence[str], absolute: Sequence[str] = ()) -> list[bool]:
    """Put the steps into a policy's processors: before its figures are applied, and after they are undone.

    Args:
        pre: pre-processor, whose figures of actions must be those of relative chunks.
        post: post-processor.
        joints: names of the actions.
        absolute: parts of the names of joints that stay absolute.

    Returns:
        which joints are relative.
    """
    relative = RelativeToNewestState(enabled=True, exclude_joints=list(absolute), action_names=list(joints))
    before = [type(step).__name__ for step in pre.steps].index("NormalizerProcessorStep")
    pre.steps = [*pre.steps[:before], relative, *pre.steps[before:]]
    after = [type(step).__name__ for step in post.steps].index("UnnormalizerProcessorStep") + 1
    back = AbsoluteActionsProcessorStep(enabled=True, relative_step=relative)
    post.steps = [*post.steps[:after], back, *post.steps[after:]]
    return relative.relative_joints(len(joints))
