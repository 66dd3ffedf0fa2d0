"""A plug-in for `lerobot-train`: faster reading, and actions relative to the joints for policies that stack observations.

    lerobot-train --dataset.discover_packages_path=rlt_ros.vla.lerobot_plugin --num_workers=0 ...

LeRobot 0.6.1 decodes every picture of all rows of a chunk when it wants their actions only (lerobot#4392), which takes
longer than a small policy's gradient step where pictures lie in the parquet files. Here only the actions are read, and
what comes out is the same. Workers of the data loader are processes that no plug-in reaches: hence none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lerobot.datasets.dataset_reader import DatasetReader
from lerobot.lerobot_types import EnvTransition, TransitionKey
from lerobot.processor import ProcessorStepRegistry
from lerobot.processor.relative_action_processor import RelativeActionsProcessorStep
from lerobot.utils.constants import OBS_STATE
from torch import Tensor


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


def _query(self: Any, query_indices: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Rows of the columns in `query_indices` (absolute rows of each), stacked; columns of videos are left out."""
    columns: dict[str, Any] = self.__dict__.setdefault("_single_columns", {})
    result = {}
    for key, wanted in query_indices.items():
        if key in self._meta.video_keys:
            continue
        if key not in columns:
            columns[key] = self.hf_dataset.select_columns([key])
        place = self._absolute_to_relative_idx
        rows = list(wanted) if place is None else [place[index] for index in wanted]
        result[key] = torch.stack(columns[key][rows][key])
    return result


DatasetReader._query_hf_dataset = _query
