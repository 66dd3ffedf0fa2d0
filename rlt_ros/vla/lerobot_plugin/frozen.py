"""An ACT whose eyes learn at rate zero does not compute what they would have learnt.

`--policy.optimizer_lr_backbone=0` in LeRobot 0.6.1 goes on with the whole backward pass, on a CPU half of a step; and
with an optimiser of one's own (`--use_policy_training_preset=false`) it is not looked at. Channels come last, which
CPUs convolve faster.
"""

from __future__ import annotations

from typing import Any

import torch
from lerobot.policies.act.modeling_act import ACTPolicy

_make = ACTPolicy.__init__


def _make_frozen(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
    """As before; a backbone whose rate is zero wants no gradients."""
    _make(self, config, *args, **kwargs)
    if config.optimizer_lr_backbone == 0:
        self.model.backbone.requires_grad_(requires_grad=False).to(memory_format=torch.channels_last)


ACTPolicy.__init__ = _make_frozen
