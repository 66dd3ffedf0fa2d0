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
from torch import Tensor, nn
from torch.nn import functional

from rlt_ros.rl.packed import precision_of
from rlt_ros.rl.rl_token import RLToken
from rlt_ros.vla.config import AdaptConfig
from rlt_ros.vla.demos import Demonstrations
from rlt_ros.vla.instruction import INSTRUCTION_BUCKETS, encode_instruction
from rlt_ros.vla.small import SmallVLA, SmallVLAConfig

Index = NDArray[np.int64]
_METADATA_KEY = "rlt_stage1"
_GLANCED = 128
"""Observations that are looked at together."""
_GROUNDING_BETA = 0.05
"""Error in units of the scale below which its square counts: a fifth of a millimetre aside."""
_GROUNDING_SCALE = np.array([0.02, 0.004, 0.004, 0.05, 0.05], dtype=np.float32)


class Stage1:
    """Training of eyes, VLA and token, one after the other; can be saved and restored in between.

    The eyes learn first, from where the parts are and from what the expert does with a simple head of their own. Then
    they are frozen, everything is looked at once, and VLA and token learn from what was seen.
    """

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
        self.glance = Glance(self.model).to(self.device)
        self.step = 0
        self.running: dict[str, float] = {}
        self._modules = {"vla": self.vla, "token": self.token, "glance": self.glance}
        eyes = list(self.vla.eyes.parameters())
        seeing = {id(parameter) for parameter in eyes}
        others = [p for p in (*self.vla.parameters(), *self.token.parameters()) if id(p) not in seeing]
        self._optimisers = {
            "eyes": self._adam([*eyes, *self.glance.parameters()]),
            "mind": self._adam(others),
        }
        self.training, self.held_out = split(demos.episode, config.held_out, config.seed)
        self._words = torch.from_numpy(np.stack([encode_instruction(text) for text in demos.tasks.values()]))
        joints = self.model.joints
        self._position = (demos.position - self.normaliser.proprio_mean[:joints]) / self.normaliser.proprio_std[:joints]
        self._seen: tuple[Tensor, Tensor] | None = None

    def _adam(self, parameters: list[nn.Parameter]) -> torch.optim.AdamW:
        config = self.config
        return torch.optim.AdamW(
            parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98), fused=True
        )

    def train_step(self) -> None:
        """One gradient step: the eyes until `config.eyes`, VLA and token for `config.steps`, then the token alone."""
        config = self.config
        # Each step draws its own batch, so that a resumed training is the same training.
        rng = np.random.default_rng([config.seed, self.step])
        torch.manual_seed(config.seed * 1_000_003 + self.step)
        if self.step < config.eyes:
            part, rate = "eyes", config.eyes_rate * _schedule(self.step, config.eyes, 200)
            losses = self._eyes_losses(rng.choice(self.training, config.eyes_batch))
        else:
            part, step = "mind", self.step - config.eyes
            joint = step < config.steps
            if joint:
                rate = config.learning_rate * _schedule(step, config.steps, 200)
            else:
                rate = 0.5 * config.learning_rate * _schedule(step - config.steps, config.token_steps, 50)
            losses = self._losses(rng.choice(self.training, config.batch), joint=joint)
        optimiser = self._optimisers[part]
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        weights = {"vla": config.alpha, "glance": config.alpha, "grounding": config.grounding}
        loss = sum(
            (weights.get(name, 1.0) * value for name, value in losses.items()), torch.zeros((), device=self.device)
        )
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], 1.0)
        optimiser.step()
        self.step += 1
        for name, value in losses.items():
            now = float(value.detach())
            self.running[name] = now if name not in self.running else 0.98 * self.running[name] + 0.02 * now

    def _eyes_losses(self, index: Index) -> dict[str, Tensor]:
        """Where the parts are, and what the expert does, from what the eyes see."""
        # Half the time where the processor multiplies bfloat16 natively; what is served sees in float32.
        points, scene = self._look(
            index, precision_of("auto", self.device) if self.device.type == "cpu" else torch.bfloat16
        )
        position, told = self._rest(index)
        place = self.vla.eyes.locate(points, position, told)
        return {
            "grounding": self._grounding_loss(index, place),
            "glance": self.vla_loss(index, self.glance(points, scene, position, told)),
        }

    def _losses(self, index: Index, *, joint: bool) -> dict[str, Tensor]:
        """`L_vla` and `L_ro`; without `joint` the latter alone."""
        config = self.config
        with torch.set_grad_enabled(joint):
            z, actions = self.forward(index)
        losses = {"vla": self.vla_loss(index, actions)} if joint else {}
        return losses | {"token": self.token.loss(z[: config.token_batch] if joint else z, config.context_dropout)}

    def forward(self, index: Index) -> tuple[Tensor, Tensor]:
        """Embeddings and normalised actions of some observations."""
        if self.step < self.config.eyes:
            seen = self._look(index)
        else:
            if self._seen is None:
                self._seen = self._look_at_everything()
            seen = self._seen[0][index].to(self.device), self._seen[1][index].to(self.device).float()
        z, actions = self.vla(*seen, *self._rest(index))
        return z, actions

    def _look(self, index: Index, precision: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """What the eyes see of some observations."""
        with torch.autocast(self.device.type, precision, enabled=precision is not torch.float32):
            seen: tuple[Tensor, Tensor] = self.vla.eyes(torch.from_numpy(self.demos.images[index]).to(self.device))
        return seen

    @torch.no_grad()
    def _look_at_everything(self) -> tuple[Tensor, Tensor]:
        """Keypoints and scenes of all observations, as the frozen eyes will see them; 8 kB each."""
        count = len(self.demos.episode)
        parts = [self._look(np.arange(at, min(count, at + _GLANCED))) for at in range(0, count, _GLANCED)]
        points, scenes = zip(*((points.cpu(), scene.half().cpu()) for points, scene in parts), strict=True)
        return torch.cat(points), torch.cat(scenes)

    def _rest(self, index: Index) -> tuple[Tensor, Tensor]:
        """Normalised joint positions and words."""
        position = torch.from_numpy(self._position[index]).to(self.device)
        return position, self._words[self.demos.instruction[index]].to(self.device)

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
    def validate(self, batches: int = 8) -> dict[str, float]:
        """How it does on some held-out observations: the losses of the part that is being trained."""
        rng = np.random.default_rng(self.config.seed)
        told: dict[str, list[float]] = {}
        for _ in range(batches):
            index = rng.choice(self.held_out, self.config.batch)
            if self.step < self.config.eyes:
                losses = self._eyes_losses(index)
            else:
                losses = {"vla": self.vla_loss(index, self.forward(index)[1])}
            for name, value in losses.items():
                told.setdefault(name, []).append(float(value))
        return {name: float(np.mean(values)) for name, values in told.items()}

    def _grounding_loss(self, index: Index, place: Tensor) -> Tensor:
        target = torch.from_numpy(self.demos.grounding[index] / _GROUNDING_SCALE).to(self.device)
        known = torch.isfinite(target).all(1)
        if not known.any():
            return place.sum() * 0.0
        return functional.smooth_l1_loss(place[known], target[known].clamp(-5, 5), beta=_GROUNDING_BETA)

    def save(self, path: Path) -> None:
        """Write everything that changes while training, new and renamed."""
        tensors = {
            f"{part}.{name}": value
            for part, module in self._modules.items()
            for name, value in module.state_dict().items()
        }
        for part, optimiser in self._optimisers.items():
            for number, state in optimiser.state_dict()["state"].items():
                tensors |= {f"{part}.{number}.{name}": value for name, value in state.items()}
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
        parts: dict[str, dict[str, Any]] = {part: {} for part in (*self._modules, *self._optimisers)}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        for part, module in self._modules.items():
            module.load_state_dict(parts[part])
        for part, optimiser in self._optimisers.items():
            moments: dict[int, dict[str, Tensor]] = {}
            for name, value in parts[part].items():
                number, _, key = name.partition(".")
                # Moments lie in memory as their weights do: the fused step goes through both side by side.
                weight = optimiser.param_groups[0]["params"][int(number)]
                like = torch.empty_like(weight).copy_(value) if value.shape == weight.shape else value
                moments.setdefault(int(number), {})[key] = like
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": moments, "param_groups": groups})

    def _identity(self) -> dict[str, Any]:
        """What a saved training must share with this one."""
        return {
            "config": asdict(self.config),
            "model": asdict(self.model),
            "demonstrations": [len(self.demos.episode), self.demos.tasks],
        }


class Glance(nn.Module):
    """What to do, straight from what the eyes see: teaches them to look at what acting needs; not served."""

    def __init__(self, model: SmallVLAConfig) -> None:
        """Build with random weights."""
        super().__init__()
        seen = model.cameras * (model.points + model.patches * model.width)
        self.words = nn.Embedding(INSTRUCTION_BUCKETS, 32)
        self.head = nn.Sequential(
            nn.Linear(seen + model.joints + 32, 256), nn.GELU(), nn.Linear(256, model.horizon * model.joints)
        )
        self._shape = (model.horizon, model.joints)

    def forward(self, points: Tensor, scene: Tensor, position: Tensor, instruction: Tensor) -> Tensor:
        """Actions, shape (B, horizon, joints); arguments as of `SmallVLA`."""
        told = self.words(instruction).mean(1)
        actions: Tensor = self.head(torch.cat([points.flatten(1), scene.flatten(1), position, told], 1))
        return actions.unflatten(1, self._shape)


def _schedule(step: int, steps: int, warm_up: int) -> float:
    """Warm-up and cosine decay."""
    return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))


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
