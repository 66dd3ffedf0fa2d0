"""Stage 1: train the small VLA and the RL token on demonstrations.

The loss is the paper's `L_ro + alpha * L_vla`, where `L_vla` is the regression of the reference chunk and the
gradient of `L_ro` stops at the embeddings.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from rlt_ros.rl.rl_token import RLToken
from rlt_ros.vla.config import AdaptConfig
from rlt_ros.vla.demos import Demonstrations
from rlt_ros.vla.instruction import encode_instruction
from rlt_ros.vla.small import SmallVLA, SmallVLAConfig

Index = NDArray[np.int64]
_METADATA_KEY = "rlt_stage1"
_GROUNDING_SCALE = np.array([0.02, 0.004, 0.004, 0.05, 0.05], dtype=np.float32)


class Stage1:
    """Training of VLA and token: `joint` steps, then `token` steps; can be saved and restored in between."""

    def __init__(
        self, demos: Demonstrations, config: AdaptConfig, model: SmallVLAConfig | None = None, device: str = "cpu"
    ) -> None:
        """Build the networks with random weights.

        Args:
            demos: what to learn from.
            config: how to train.
            model: sizes; default for this many joints and pixels.
            device: of torch.
        """
        torch.manual_seed(config.seed)
        self.config, self.device = config, torch.device(device)
        self.demos = demos
        self.model = model or SmallVLAConfig(
            cameras=demos.images.shape[1],
            image_size=demos.images.shape[2],
            joints=demos.steps.shape[2],
            horizon=demos.steps.shape[1],
        )
        self.normaliser = demos.normaliser
        self.vla = SmallVLA(self.model).to(self.device)
        self.token = RLToken(self.model.width, self.model.embeddings, self.model.token_dim).to(self.device)
        self.step = 0
        self.running: dict[str, float] = {}
        self._parameters = [*self.vla.parameters(), *self.token.parameters()]
        self._optimiser = torch.optim.AdamW(
            self._parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        )
        self.training, self.held_out = split(demos.episode, config.held_out, config.seed)
        self._words = torch.from_numpy(np.stack([encode_instruction(text) for text in demos.tasks.values()]))
        joints = self.model.joints
        self._position = (demos.position - self.normaliser.proprio_mean[:joints]) / self.normaliser.proprio_std[:joints]

    def train_step(self) -> None:
        """One gradient step: joint until `config.steps`, then the token alone."""
        config = self.config
        joint = self.step < config.steps
        # Each step draws its own batch, so that a resumed training is the same training.
        rng = np.random.default_rng([config.seed, self.step])
        torch.manual_seed(config.seed * 1_000_003 + self.step)
        index = rng.choice(self.training, config.batch)
        losses: dict[str, Tensor] = {}
        with torch.set_grad_enabled(joint):
            z, actions = self.forward(index)
        if joint:
            losses["vla"] = self.vla_loss(index, actions)
            losses["grounding"] = self._grounding_loss(index, z)
        losses["token"] = self.token.loss(z[: config.token_batch] if joint else z, config.context_dropout)
        loss = losses["token"]
        if joint:
            loss = loss + config.alpha * losses["vla"] + config.grounding * losses["grounding"]
        for group in self._optimiser.param_groups:
            group["lr"] = config.learning_rate * _schedule(self.step, config)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimiser.step()
        self.step += 1
        for name, value in losses.items():
            now = float(value.detach())
            self.running[name] = now if name not in self.running else 0.98 * self.running[name] + 0.02 * now

    def forward(self, index: Index) -> tuple[Tensor, Tensor]:
        """Embeddings and normalised actions of some observations."""
        demos = self.demos
        z, actions = self.vla(
            torch.from_numpy(demos.images[index]).to(self.device),
            torch.from_numpy(self._position[index]).to(self.device),
            self._words[demos.instruction[index]].to(self.device),
        )
        return z, actions

    def embed(self, index: Index) -> Tensor:
        """See `probe.Trained`."""
        return self.forward(index)[0]

    @property
    def context_dropout(self) -> float:
        """See `probe.Trained`."""
        return self.config.context_dropout

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Loss of the VLA on up to 3000 held-out observations."""
        held = np.random.default_rng(0).permutation(self.held_out)[:3000]
        parts = [held[start : start + 128] for start in range(0, len(held), 128)]
        return float(np.mean([float(self.vla_loss(part, self.forward(part)[1])) for part in parts]))

    def vla_loss(self, index: Index, actions: Tensor) -> Tensor:
        """Masked smooth L1 of the normalised reference rows."""
        target = torch.from_numpy(self.demos.steps[index] / self.normaliser.action_std).to(self.device)
        valid = torch.from_numpy(self.demos.valid[index]).to(self.device)[..., None].expand_as(target)
        return functional.smooth_l1_loss(actions[valid], target[valid])

    @torch.no_grad()
    def validate(self, batches: int = 8) -> float:
        """Loss of the VLA on some held-out observations."""
        rng = np.random.default_rng(self.config.seed)
        losses = []
        for _ in range(batches):
            index = rng.choice(self.held_out, self.config.batch)
            losses.append(float(self.vla_loss(index, self.forward(index)[1])))
        return float(np.mean(losses))

    def _grounding_loss(self, index: Index, z: Tensor) -> Tensor:
        target = torch.from_numpy(self.demos.grounding[index] / _GROUNDING_SCALE).to(self.device)
        known = torch.isfinite(target).all(1)
        if not known.any():
            return z.new_zeros(())
        return functional.smooth_l1_loss(self.vla.ground(z[known]), target[known].clamp(-5, 5))

    def save(self, path: Path) -> None:
        """Write everything that changes while training, new and renamed."""
        tensors = {f"vla.{name}": value for name, value in self.vla.state_dict().items()}
        tensors |= {f"token.{name}": value for name, value in self.token.state_dict().items()}
        for number, state in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
        description = {"step": self.step, "running": self.running, **self._identity()}
        fresh = path.with_suffix(".new")
        contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        save_file(contiguous, fresh, metadata={_METADATA_KEY: json.dumps(description)})
        fresh.replace(path)

    def restore(self, path: Path) -> None:
        """Go on where `save` was called.

        Raises:
            ValueError: the file is damaged, or belongs to another configuration or other demonstrations; the message
                names the differences.
        """
        try:
            with safe_open(path, "pt") as file:
                description = json.loads(file.metadata()[_METADATA_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            there = {key: description[key] for key in self._identity()}
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is no saved training ({error}); remove it to start anew") from error
        here = json.loads(json.dumps(self._identity()))
        wrong = [f"{key} is {there[key]} there, {here[key]} here" for key in here if there[key] != here[key]]
        if wrong:
            raise ValueError(f"{path} is another training: {'; '.join(wrong)}; use the same options or start anew")
        self.step, self.running = description["step"], description["running"]
        parts: dict[str, dict[str, Any]] = {"vla": {}, "token": {}, "optimiser": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        self.vla.load_state_dict(parts["vla"])
        self.token.load_state_dict(parts["token"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimiser"].items():
            number, _, key = name.partition(".")
            moments.setdefault(int(number), {})[key] = value
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": moments, "param_groups": groups})

    def _identity(self) -> dict[str, Any]:
        """What a saved training must share with this one."""
        return {
            "config": asdict(self.config),
            "model": asdict(self.model),
            "demonstrations": [len(self.demos.episode), self.demos.tasks],
        }


def _schedule(step: int, config: AdaptConfig) -> float:
    """Warm-up and cosine decay of the joint part; a second cosine for the token alone."""
    if step < config.steps:
        return min(1.0, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / config.steps))
    share = (step - config.steps) / max(1, config.token_steps)
    return 0.5 * min(1.0, (step - config.steps + 1) / 50) * (1 + math.cos(math.pi * share))


def split(episode: NDArray[np.int32], held_out: float, seed: int) -> tuple[Index, Index]:
    """Observations to learn from, and those of whole episodes that are held out.

    Args:
        episode: of each observation, shape (N,).
        held_out: share of the episodes.
        seed: which ones.

    Raises:
        ValueError: there are too few episodes.
    """
    episodes = np.random.default_rng(seed).permutation(np.unique(episode))
    count = max(1, round(held_out * len(episodes)))
    if count >= len(episodes):
        raise ValueError(f"{len(episodes)} successful demonstrations are too few: at least 2 are needed")
    held = np.isin(episode, episodes[:count])
    return np.flatnonzero(~held), np.flatnonzero(held)
