"""Chunks of actions are read without the pictures beside them.

LeRobot 0.6.1 decodes every picture of all rows of a chunk when it wants their actions only (lerobot#4392), which takes
longer than a small policy's gradient step where pictures lie in the parquet files. What comes out is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lerobot.datasets.dataset_reader import DatasetReader
from torch import Tensor


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
