"""Stage 1 of a frozen VLA: its embeddings are computed once, and the RL token's encoder and decoder learn from them.

This is the paper's `L_ro` with alpha 0: no weight of the VLA moves. Embeddings are kept on disk as float16, a file for
each episode, so that an interrupted pass goes on where it was.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlt_ros.rl.rl_token import RLToken, TokenEncoder
from rlt_ros.types import Episode
from rlt_ros.vla.adapt import split
from rlt_ros.vla.backend import InferenceError
from rlt_ros.vla.bundle import Bundle, BundleError, Encoder, file_sha256
from rlt_ros.vla.demos import Demonstrations, prepare
from rlt_ros.vla.export import strip
from rlt_ros.vla.loaded import LoadedVla
from rlt_ros.vla.motion import MOTION_ROWS, motion_of, save_motion
from rlt_ros.vla.onnx_backend import OnnxEncoder

ENCODER_FILE = "encoder.onnx"
_STATISTICS = 512
"""Observations from which the embeddings' mean and deviation are taken."""
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class TokenConfig:
    """How the token of a frozen VLA is trained.

    Attributes:
        steps: gradient steps.
        batch: observations a step.
        learning_rate: peak of a cosine schedule with warm-up.
        weight_decay: AdamW's.
        token_dim: numbers of the token.
        context_dropout: share of teacher-forced embeddings hidden from the decoder.
        held_out: share of the episodes kept for the probe.
        seed: of weights and batches.
    """

    steps: int = 2000
    batch: int = 64
    learning_rate: float = 3e-4
    weight_decay: float = 1e-3
    token_dim: int = 128
    context_dropout: float = 0.9
    held_out: float = 0.1
    seed: int = 0


def embed(
    vla: LoadedVla, episodes: Iterable[Episode], cache: Path, done: Callable[[int], None] = lambda _: None
) -> tuple[Demonstrations, list[Path]]:
    """The embeddings of all observations of successful episodes; those that the cache has are not computed again.

    Args:
        vla: of which they are.
        episodes: with pictures.
        cache: directory of this VLA and these datasets, made if absent.
        done: called with the number of observations of every episode.

    Returns:
        the demonstrations without their pictures, and the file of each successful episode's embeddings, float16,
        shape (n, L, W).

    Raises:
        BundleError: the VLA shows no embeddings.
        InferenceError: it fails.
    """
    cache.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    seen: list[Episode] = []
    for number, episode in enumerate(episodes):
        path = cache / f"{number:06d}.npy"
        if episode.ticks:
            if not path.is_file():
                _compute(vla, episode, path)
            files.append(path)
        done(len(episode.image_ticks))
        # Pictures are gigabytes, and nobody looks at them again.
        seen.append(dataclasses.replace(episode, images=np.zeros((len(episode.image_ticks), 1, 1, 1, 3), np.uint8)))
    return prepare(seen, MOTION_ROWS), files


def _compute(vla: LoadedVla, episode: Episode, path: Path) -> None:
    vla.set_instruction(episode.instruction)
    made: list[NDArray[np.float16]] = []
    while len(made) < len(episode.images):
        here = slice(len(made), len(made) + vla.batch)
        for one in vla.infer_batch(episode.images[here], episode.position[episode.image_ticks[here]]):
            if one.embeddings is None:
                raise BundleError(
                    f"bundle '{vla.bundle.name}' shows no embeddings, only its own token: there is nothing to train "
                    "one on"
                )
            made.append(one.embeddings.astype(np.float16))
    if not np.isfinite(made).all():
        raise InferenceError("embeddings are not finite in 16 bits")
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        np.save(file, np.stack(made))
    fresh.replace(path)


class FrozenStage:
    """Training of the token on kept embeddings."""

    def __init__(self, demos: Demonstrations, files: Sequence[Path], config: TokenConfig, device: str = "cpu") -> None:
        """Build the networks with random weights.

        Args:
            demos: from `embed`.
            files: likewise.
            config: how to train.
            device: of torch.

        Raises:
            ValueError: there are too few episodes, or files of different shapes.
        """
        torch.manual_seed(config.seed)
        self.demos, self.config, self.device = demos, config, torch.device(device)
        self._parts = [np.load(path, mmap_mode="r") for path in files]
        shapes = {part.shape[1:] for part in self._parts}
        if len(shapes) != 1 or sum(map(len, self._parts)) != len(demos.episode):
            raise ValueError(f"the kept embeddings {sorted(shapes)} are not those of the data: remove them")
        (length, width), self.step = shapes.pop(), 0
        self._starts = np.cumsum([0, *map(len, self._parts)])
        self.training, self.held_out = split(demos.episode, config.held_out, config.seed)
        some = self.raw(np.random.default_rng(config.seed).choice(self.training, min(_STATISTICS, len(self.training))))
        self.mean, self.scale = (x.to(self.device) for x in _scales(some))
        heads = next(count for count in (8, 4, 2, 1) if width % count == 0)
        self.token = RLToken(width, length, config.token_dim, heads=heads).to(self.device)
        self._parameters = list(self.token.parameters())
        self._optimiser = torch.optim.AdamW(
            self._parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        )
        self.loss = math.nan

    @property
    def context_dropout(self) -> float:
        """See `probe.Trained`."""
        return self.config.context_dropout

    def embed(self, index: NDArray[np.int64]) -> Tensor:
        """See `probe.Trained`; in units of their deviation."""
        return (self.raw(index).to(self.device) - self.mean) / self.scale

    def train_step(self) -> None:
        """One gradient step."""
        config = self.config
        rng = np.random.default_rng([config.seed, self.step])
        loss = self.token.loss(self.embed(rng.choice(self.training, config.batch)), config.context_dropout)
        share = min(1.0, (self.step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * self.step / config.steps))
        for group in self._optimiser.param_groups:
            group["lr"] = config.learning_rate * share
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimiser.step()
        self.step += 1
        now = float(loss.detach())
        self.loss = now if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * now

    def raw(self, index: NDArray[np.int64]) -> Tensor:
        """Embeddings of some observations as the VLA gave them, shape (N, L, W)."""
        part = np.searchsorted(self._starts, index, side="right") - 1
        rows = [self._parts[p][i - self._starts[p]] for p, i in zip(part, index, strict=True)]
        return torch.from_numpy(np.stack(rows).astype(np.float32))


class _Served(nn.Module):
    """Embeddings (L, W) as the VLA gives them -> token (D,)."""

    def __init__(self, encoder: TokenEncoder, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", mean.clone())
        self.register_buffer("scale", scale.clone())

    def forward(self, embeddings: Tensor) -> Tensor:
        token: Tensor = self.encoder(((embeddings - self.mean) / self.scale)[None])[0]
        return token


def save_encoder(stage: FrozenStage, bundle: Bundle, report: dict[str, Any]) -> Bundle:
    """Write the encoder beside the VLA and its description into the bundle, which gets another identity by it.

    Args:
        stage: trained.
        bundle: whose VLA gave the embeddings.
        report: figures for `training`.

    Raises:
        BundleError: the exported encoder says something else.
    """
    served = _Served(stage.token.encoder.cpu(), stage.mean.cpu(), stage.scale.cpu()).eval()
    path = bundle.directory / ENCODER_FILE
    fresh = path.with_suffix(".new.onnx")
    example = stage.raw(stage.held_out[:1])[0]
    torch.onnx.export(
        served,
        (example,),
        fresh,
        input_names=["embeddings"],
        output_names=["token"],
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    strip(fresh)
    with torch.no_grad():
        difference = float((served(example) - torch.from_numpy(OnnxEncoder(fresh)(example.numpy()))).abs().max())
    if difference > _TOLERANCE:
        raise BundleError(f"the exported encoder differs from the trained one by {difference:.2g}")
    fresh.replace(path)
    known = {name: digest for name, digest in bundle.files.items() if name != ENCODER_FILE}
    made = dataclasses.replace(
        bundle,
        token_dim=stage.config.token_dim,
        files={**known, ENCODER_FILE: file_sha256(path)},
        encoder=Encoder(ENCODER_FILE, bundle.vla),
        training={**bundle.training, **report, "token_config": dataclasses.asdict(stage.config)},
    )
    made.save()
    save_motion(motion_of(stage.demos, bundle.normaliser), bundle.directory)
    return made


def _scales(some: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each of the embeddings' numbers, over moments and places.

    What hardly changes is not blown up: in another episode it may.
    """
    scale = some.std((0, 1))
    return some.mean((0, 1)), scale.clamp_min(float(0.1 * scale.square().mean().sqrt()) + 1e-6)
