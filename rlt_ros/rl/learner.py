"""The learner: Algorithm 1 of RL Token without its robot - replay in, weights out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rlt_ros.config import ConfigError
from rlt_ros.control.actor import ActorSpec
from rlt_ros.rl.actor_critic import ActorNetwork, CriticEnsemble, export_actor
from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.directions import Directions
from rlt_ros.rl.packed import Packed, best_precision
from rlt_ros.rl.replay import Batch, Replay

_REPORT_EVERY = 10
_OWN_SCALE_FLOOR = 0.25
_AVERAGED_SHARE = 10
"""An average that is younger than its rate spans the last tenth of the actor's updates."""


@dataclass
class UpdateReport:
    """Running means over the last updates, for people."""

    critic_loss: float = 0.0
    actor_loss: float = 0.0
    q_mean: float = 0.0
    target_mean: float = 0.0
    anchor_distance: float = 0.0

    def mix(self, **values: Tensor) -> None:
        """Move each running mean a fifth towards a new value; called for every tenth update."""
        for name, value in values.items():
            old = getattr(self, name)
            setattr(self, name, old + 0.2 * (float(value) - old))


class Learner:
    """Twin (or K) critics, an anchored actor, and the budget that keeps them from over-training.

    Attributes:
        actor, critics, targets: the networks, in float32.
        averaged: the actor that is exported: a running average of `actor`.
        updates: updates done.
        update_ratio: updates per stored sample, at most; may be changed at any time.
        report: running means.
    """

    def __init__(self, config: LearnerConfig, replay: Replay, bundle_id: str) -> None:
        """Start with an actor that equals the reference.

        Args:
            config: how to train.
            replay: filled by the caller.
            bundle_id: stamped on the weights.

        Raises:
            ConfigError: a name is unknown, or the device absent.
        """
        config.check()
        spec = replay.spec
        torch.manual_seed(config.seed)
        self.config = config
        self.replay = replay
        try:
            self.device = torch.device(config.device)
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device '{config.device}' cannot be used: {str(error).splitlines()[0]}") from error
        state_size, chunk_size = spec.token_dim + 2 * spec.joints, spec.chunk * spec.joints
        action_size = min(config.directions, chunk_size) or chunk_size
        self.actor = ActorNetwork(state_size, action_size, config.hidden, pass_through=config.pass_through)
        self.critics = CriticEnsemble(
            state_size, action_size, config.hidden, config.critics, layer_norm=config.layer_norm
        )
        self.targets = copy.deepcopy(self.critics)
        self.averaged = copy.deepcopy(self.actor)
        precision = self._precision(config.precision)
        self._actor = Packed(self.actor.to(self.device), precision)
        self._critics = Packed(self.critics.to(self.device), precision)
        self._targets = Packed(self.targets.to(self.device), precision, trained=False)
        self._averaged = Packed(self.averaged.to(self.device), torch.float32, trained=False)
        self._actor_optimiser = self._adam(self._actor, config.actor_rate)
        self._critic_optimiser = self._adam(self._critics, config.critic_rate)
        self._generator = np.random.default_rng(config.seed)
        self._spec = ActorSpec(
            bundle_id,
            spec.token_dim,
            spec.joints,
            spec.chunk,
            config.noise_chunk,
            config.noise_tick,
            config.noise_speed,
            config.pass_through,
        )
        self.directions = Directions(torch.zeros(action_size, chunk_size)) if config.directions else None
        self._state_noise = torch.Generator(self.device)
        self._state_mask = torch.ones(state_size, device=self.device)
        self._state_mask[
            state_size - {"all": 0, "position": spec.joints, "none": 2 * spec.joints}[config.proprio] :
        ] = 0.0
        self.update_ratio = config.update_ratio
        self.updates = 0
        self.report = UpdateReport()

    def _precision(self, name: str) -> torch.dtype:
        if name == "auto":
            return best_precision() if self.device.type == "cpu" else torch.float32
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]

    @staticmethod
    def _adam(packed: Packed[Any], rate: float) -> torch.optim.Adam:
        return torch.optim.Adam([packed.parameters], lr=rate, fused=True)

    @property
    def budget(self) -> int:
        """Updates that may be done now: `ratio * samples` after the warm-up, less those done."""
        if self.replay.samples < self.config.warmup_samples:
            return 0
        return max(0, int(self.update_ratio * self.replay.samples) - self.updates)

    @property
    def q_weight(self) -> float:
        """Weight of Q now: the anchor is strong first and gives way as the critics have seen more."""
        config = self.config
        done = self.updates - config.burn_in_updates
        share = min(1.0, max(0.0, done / config.q_ramp_updates)) if config.q_ramp_updates else float(done >= 0)
        return float(config.q_weight ** (1 - share) * config.q_weight_final**share)

    @property
    def generator_state(self) -> dict[str, Any]:
        """Of the generator of batches, dropout and pairs, for `restore`."""
        return dict(self._generator.bit_generator.state)

    def stored(self) -> dict[str, Tensor]:
        """Networks, optimisers and learnt directions by name, for `restore`."""
        out = {
            f"{name}.{key}": value
            for name, part in self._packed.items()
            for key, value in part.network.state_dict().items()
        }
        for name, optimiser in self._optimisers.items():
            for key, value in optimiser.state_dict()["state"].get(0, {}).items():
                out[f"{name}_optimiser.{key}"] = value
        if self.directions is not None:
            out["directions"] = self.directions.basis
        return out

    def restore(self, stored: Mapping[str, Tensor], updates: int, generator: Mapping[str, Any]) -> None:
        """Take over what `stored` gave; from here on every update is the one that would have followed.

        Raises:
            KeyError, RuntimeError: something is missing, or has another shape.
        """
        for name, part in self._packed.items():
            own = {key.removeprefix(f"{name}."): v for key, v in stored.items() if key.startswith(f"{name}.")}
            part.network.load_state_dict(own)
            part.refresh()
        for name, optimiser in self._optimisers.items():
            prefix = f"{name}_optimiser."
            state = {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
            if state:
                optimiser.load_state_dict({**optimiser.state_dict(), "state": {0: state}})
        if "directions" in stored:
            self.directions = Directions(stored["directions"].to(self.device))
        self.updates = updates
        self._generator.bit_generator.state = dict(generator)

    @property
    def _packed(self) -> dict[str, Packed[Any]]:
        return {"actor": self._actor, "flown": self._averaged, "critics": self._critics, "targets": self._targets}

    @property
    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"actor": self._actor_optimiser, "critics": self._critic_optimiser}

    def update(self) -> None:
        """One gradient update of the critics, and of the actor every `actor_every`-th time."""
        if self.config.directions and not self.updates:
            # Once and for all: other directions would be another meaning of all that was learnt.
            self.directions = Directions.of(self.replay.references().to(self.device), self.config.directions)
        batch = self._masked(self.replay.sample(self.config.batch, self._generator, self.config.human_mix))
        if self.config.state_noise:
            self._state_noise.manual_seed(int(self._generator.integers(2**62)))
            for state in (batch.state, batch.next_state):
                noise = torch.empty_like(state).normal_(generator=self._state_noise)
                state.addcmul_(noise, self._state_mask, value=self.config.state_noise)
        self._update_critics(batch)
        self.updates += 1
        if self.updates % self.config.actor_every == 0:
            self._update_actor(batch)
        with torch.no_grad():
            self._targets.parameters.lerp_(self._critics.parameters, self.config.target_rate)
            self._targets.refresh()

    def _masked(self, batch: Batch) -> Batch:
        """A batch as the networks see it: on their device, chunks as rows of numbers."""
        if self.device.type != "cpu":
            batch = Batch(*(tensor.to(self.device, non_blocking=True) for tensor in batch))
        return batch._replace(
            state=batch.state * self._state_mask,
            next_state=batch.next_state * self._state_mask,
            anchor=self._rows(batch.anchor),
            actions=self._rows(batch.actions),
            reference=self._rows(batch.reference),
            next_reference=self._rows(batch.next_reference),
        )

    def _rows(self, chunks: Tensor) -> Tensor:
        return chunks.flatten(1) if self.directions is None else self.directions.coordinates(chunks)

    @torch.no_grad()
    def values(self, batch: Batch) -> Tensor:
        """What the critics expect of the executed chunks, on average over the ensemble; shape (N,)."""
        seen = self._masked(batch)
        values: Tensor = self.critics(seen.state, seen.actions).mean(0).cpu()
        return values

    def _anchor(self, actions: Tensor, batch: Batch) -> Tensor:
        """Squared distance from the anchor in executed rows, on average over the numbers of a chunk; shape (N,)."""
        difference = actions - batch.anchor
        if self.directions is None:
            joints = self.replay.spec.joints
            difference = difference * batch.valid.repeat_interleave(joints, 1)
        elif not batch.valid.all():
            chunks = self.directions.chunks(difference).view(len(difference), *batch.valid.shape[1:], -1)
            difference = self.directions.coordinates(chunks * batch.valid[..., None])
        return difference.square().mean(1)

    def _update_critics(self, batch: Batch) -> None:
        """`target = sum gamma^(k-1) r_k + gamma^C min Q'(x', a')`, clamped to what a sparse reward can give."""
        config = self.config
        with torch.no_grad():
            # During burn-in the reference itself is the policy that is evaluated.
            next_actions = batch.next_reference
            if self.updates >= config.burn_in_updates:
                next_actions = self._actor.compute(batch.next_state, batch.next_reference)
            pair = None
            if config.critics > 2:
                pair = torch.from_numpy(self._generator.choice(config.critics, 2, replace=False))
            next_values = self._targets.compute(batch.next_state, next_actions, pair)
            target = (batch.rewards + batch.bootstrap * next_values.amin(0)).clamp(0.0, 1.0)
            if config.return_share:
                known = torch.where(batch.returned.isnan(), target, batch.returned)
                target = target.lerp(known, config.return_share)
        values = self._critics.compute(batch.state, batch.actions)
        loss = functional.mse_loss(values, target.expand_as(values)) * config.critics
        self._descend(loss, self._critics, self._critic_optimiser)
        if self.updates % _REPORT_EVERY == 0:
            self.report.mix(critic_loss=loss.detach(), q_mean=values.detach().mean(), target_mean=target.mean())

    def _update_actor(self, batch: Batch) -> None:
        """`-Q(x, a) + beta || a - ref ||^2` on executed rows, in the form `-w Q / mean|Q| + mean (a - ref)^2`."""
        config = self.config
        visible = torch.from_numpy(self._generator.random(len(batch.state)) >= config.reference_dropout).to(self.device)
        actions = self._actor.compute(batch.state, batch.reference * visible[:, None])
        distance = self._anchor(actions, batch)
        burnt_in, weight = self.updates >= config.burn_in_updates, self.q_weight
        # While burning in the actor clones the reference, whatever its later weight.
        loss = distance.mean() * (config.anchor_weight if burnt_in else 1.0)
        if burnt_in and weight > 0:
            ensemble = self._critics.compute(batch.state, actions)
            values = ensemble.mean(0)
            if config.pessimism:
                values = values - config.pessimism * ensemble.std(0)
            loss = loss - weight * (values / self._q_scale(values.detach())).mean()
        self._descend(loss, self._actor, self._actor_optimiser)
        young = _AVERAGED_SHARE / (_AVERAGED_SHARE + self.updates / config.actor_every)
        with torch.no_grad():
            self._averaged.parameters.lerp_(self._actor.parameters, max(config.average_rate, young))
        if self.updates % (_REPORT_EVERY * config.actor_every) == 0:
            self.report.mix(
                actor_loss=loss.detach(),
                anchor_distance=(distance.detach() * visible).sum() / visible.sum().clamp_min(1),
            )

    def _q_scale(self, values: Tensor) -> Tensor:
        """What a value is measured in when the actor climbs: the batch's mean, or the value itself.

        Far from the goal values are small; by the mean alone nothing would pull there.
        """
        mean = values.abs().mean().clamp_min(1e-3)
        return values.clamp_min(_OWN_SCALE_FLOOR * mean) if self.config.q_scale == "own" else mean

    def _descend(self, loss: Tensor, packed: Packed[Any], optimiser: torch.optim.Optimizer) -> None:
        """One clipped step."""
        gradient = packed.gradient(loss)
        norm = torch.linalg.vector_norm(gradient)
        gradient *= (self.config.gradient_clip / (norm + 1e-6)).clamp(max=1.0)
        optimiser.step()
        packed.refresh()

    def export(self, version: int) -> bytes:
        """The actor's weights for the executor."""
        noise, share = None, self.config.noise_reference
        if self.directions is not None and share:
            noise = share * self.directions.basis
        return export_actor(self.averaged, self._spec, version, self.directions, noise, self._state_mask)
