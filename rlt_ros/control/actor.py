"""The policy in numpy: small enough to run at chunk boundaries inside the control loop.

An actor, and where the recipe selects among candidates (EXPO: Dong et al., 2025, arXiv 2507.07986) the critics that
choose. Weights travel as safetensors; the metadata says which bundle, sizes and version they belong to. The layout is
written by `rlt_ros.rl.export.export_actor`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rlt_ros.control.critics import EPSILON, Critics, Layer
from rlt_ros.types import Array32

FORMAT = 2
"""Of the weights; 1 had neither directions nor critics of its own."""
SPEEDS = (0.6, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Candidates beside the actor's chunk: the reference at so many times its motion."""
OWN = 0.0
"""The candidate that is the actor's own chunk; the others are named by their speed."""
LOG_DEVIATIONS = (-11.5, 1.6)
"""Of what a squashed actor draws, the smallest and the largest logarithm of a deviation."""
_METADATA_KEY = "rlt_actor"


class WeightsError(ValueError):
    """Weights were refused. `kind` is the counter's name: checksum, format, bundle, shape or finite."""

    def __init__(self, kind: str, message: str) -> None:
        """Refuse for `kind` of reason."""
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class ActorSpec:
    """What an actor expects and gives.

    Attributes:
        bundle_id: token space and action scale.
        token_dim: size of the RL token.
        joints: number of joints.
        chunk: rows of an action chunk (C).
        noise: exploration noise along the directions, constant over a chunk, in their units.
        speeds: of the candidates beside the actor's own chunk; none: the actor's always flies.
        selects: the critics choose among candidates; before the end of the burn-in the actor's own chunk flies.
        random_share: of an exploring episode's chunks, those for which any candidate is drawn.
        pass_through: the actor sees the reference and adds to it; without, it sees zeros (an ablation).
        measured: numbers of proprioception; 0: positions and velocities of all joints, 2 J.
        bound: of a `SquashedActor`, how far it moves along each direction, in their units; 0: it is an `Actor`.
    """

    bundle_id: str
    token_dim: int
    joints: int
    chunk: int
    noise: float = 0.0
    speeds: tuple[float, ...] = ()
    selects: bool = False
    random_share: float = 0.0
    pass_through: bool = True
    measured: int = 0
    bound: float = 0.0

    @property
    def state_size(self) -> int:
        """Numbers of a state x = (token, proprioception)."""
        return self.token_dim + (self.measured or 2 * self.joints)


@dataclass(frozen=True)
class Weights:
    """Numbers of a policy.

    Attributes:
        basis: the directions in which the policy sees and changes chunks, orthogonal rows as long as their units, shape
            (K, C J).
        layers: of the actor's perceptron, weights (in, out) and biases (out,), first layer first.
        critics: layers of the critics; none where nothing is selected.
    """

    basis: Array32
    layers: list[Layer]
    critics: list[Layer] = field(default_factory=list)

    def check(self, spec: ActorSpec) -> None:
        """Look whether everything fits.

        Raises:
            WeightsError: a shape is wrong, or a number is not finite.
        """
        size = spec.chunk * spec.joints
        if self.basis.ndim != 2 or self.basis.shape[1] != size or not len(self.basis):
            raise WeightsError("shape", f"directions have shape {self.basis.shape}, a chunk has {size} numbers")
        width = spec.state_size + len(self.basis)
        outputs = len(self.basis) * (2 if spec.bound else 1)
        for name, layers, out in (("layer", self.layers, outputs), ("critics' layer", self.critics, 1)):
            last = width
            for index, (weight, bias) in enumerate(layers):
                leading = weight.shape[:-2]
                if weight.ndim != 2 + (layers is self.critics) or weight.shape[-2] != last:
                    raise WeightsError("shape", f"{name} {index} has shape {weight.shape}, its input is {last}")
                if bias.shape != (*leading, weight.shape[-1]) or leading != layers[0][0].shape[:-2]:
                    raise WeightsError("shape", f"{name} {index} has shapes {weight.shape} and {bias.shape}")
                last = weight.shape[-1]
            if layers and last != out:
                raise WeightsError("shape", f"the last {name} gives {last} numbers, expected {out}")
        if not self.layers or (spec.selects and not (self.critics and spec.speeds)):
            raise WeightsError("shape", "the actor has no layers" if not self.layers else "there is nothing to select")
        for array in (self.basis, *(array for layer in (*self.layers, *self.critics) for array in layer)):
            if not np.isfinite(array).all():
                raise WeightsError("finite", "a weight is not finite")
        if not self.basis.any(1).all():
            raise WeightsError("shape", "a direction has no length")


class Actor:
    """`mu(x, ref)`: the reference and what a perceptron adds to it; and the choice among candidates."""

    explores_for = 10
    """Ticks for which what exploration drew stays, also where chunks are shorter: noise that changes every 20 ms moves
    an arm nowhere."""

    def __init__(self, spec: ActorSpec, weights: Weights, version: int) -> None:
        """Use these weights.

        Args:
            spec: what it expects and gives.
            weights: of actor and critics.
            version: of the weights.

        Raises:
            WeightsError: a shape is wrong, or a number is not finite.
        """
        weights.check(spec)
        self.spec = spec
        self.version = version
        self.made = 0.0
        self.basis = weights.basis
        self._inverse = np.ascontiguousarray((self.basis / np.square(self.basis).sum(1, keepdims=True)).T)
        self._layers = weights.layers
        self._critics = Critics(weights.critics, spec.state_size) if weights.critics else None
        self.candidates = (*spec.speeds, OWN)

    def __call__(self, token: Array32, proprio: Array32, reference: Array32) -> Array32:
        """The actor's own normalised action chunk, shape (C, J).

        Args:
            token: RL token, shape (D,).
            proprio: normalised proprioception, shape (2 M,).
            reference: normalised reference rows, shape (C, J).
        """
        return self._own(np.concatenate([token, proprio]), reference)

    def _own(self, state: Array32, reference: Array32) -> Array32:
        flat = reference.reshape(-1) if self.spec.pass_through else np.zeros(reference.size, dtype=np.float32)
        x = np.concatenate([state, flat @ self._inverse])
        for weight, bias in self._layers[:-1]:
            x = np.maximum(x @ weight + bias, 0.0)
        weight, bias = self._layers[-1]
        chunk = flat + (x @ weight + bias) @ self.basis
        return np.asarray(chunk, dtype=np.float32).reshape(reference.shape)

    def choose(
        self, token: Array32, proprio: Array32, reference: Array32, generator: np.random.Generator | None = None
    ) -> tuple[Array32, float]:
        """What flies: the candidate whose value the critics agree on most.

        Args:
            token: RL token, shape (D,).
            proprio: normalised proprioception, shape (2 M,).
            reference: normalised reference rows, shape (C, J).
            generator: of an episode that explores: some candidates are drawn, and noise is added; None: none.

        Returns:
            The normalised chunk, shape (C, J), and the candidate: a speed of the reference, or `OWN`.
        """
        state = np.concatenate([token, proprio])
        chunk, chosen = self._own(state, reference), OWN
        if generator is not None and self.spec.speeds and generator.random() < self.spec.random_share:
            chosen = self.candidates[generator.integers(len(self.candidates))]
        elif self._critics is not None and self.spec.selects:
            scales = np.array(self.spec.speeds, dtype=np.float32)[:, None]
            coordinates = np.concatenate([scales * (reference.reshape(1, -1) @ self._inverse), self._of(chunk)])
            chosen = self.candidates[int(np.argmax(self._critics.lower_bound(state, coordinates)))]
        if chosen != OWN:
            chunk = reference * np.float32(chosen)
        if generator is not None:
            chunk = chunk + self.exploration(generator)
        return np.asarray(chunk, dtype=np.float32), chosen

    def _of(self, chunk: Array32) -> Array32:
        """Coordinates of a chunk, shape (1, K)."""
        return np.asarray(chunk.reshape(1, -1) @ self._inverse)

    def exploration(self, generator: np.random.Generator) -> Array32:
        """Exploration noise of a chunk, shape (C, J): along the directions, in their units."""
        z = self.spec.noise * generator.standard_normal(len(self.basis), dtype=np.float32)
        return np.asarray(z @ self.basis, dtype=np.float32).reshape(self.spec.chunk, self.spec.joints)


class SquashedActor(Actor):
    """What soft actor-critic flies (the baselines): `tanh` of a Gaussian, bounded, alone or added to the reference.

    Its hidden layers are normalised and pass through tanh; the last one gives means and logarithms of deviations.
    """

    explores_for = 1

    def choose(
        self, token: Array32, proprio: Array32, reference: Array32, generator: np.random.Generator | None = None
    ) -> tuple[Array32, float]:
        """The mean's chunk, or where `generator` explores one that is drawn; see `Actor.choose`."""
        return self._squashed(np.concatenate([token, proprio]), reference, generator), OWN

    def _own(self, state: Array32, reference: Array32) -> Array32:
        return self._squashed(state, reference, None)

    def _squashed(self, state: Array32, reference: Array32, generator: np.random.Generator | None) -> Array32:
        flat = reference.reshape(-1) if self.spec.pass_through else np.zeros(reference.size, dtype=np.float32)
        x = np.concatenate([state, flat @ self._inverse])
        for weight, bias in self._layers[:-1]:
            x = x @ weight + bias
            x = np.tanh((x - x.mean()) / np.sqrt(x.var() + np.float32(EPSILON)))
        weight, bias = self._layers[-1]
        mean, log_deviation = np.split(x @ weight + bias, 2)
        if generator is not None:
            deviation = np.exp(np.clip(log_deviation, *LOG_DEVIATIONS))
            mean = mean + deviation * generator.standard_normal(len(mean), dtype=np.float32)
        chunk = flat + (np.float32(self.spec.bound) * np.tanh(mean)) @ self.basis
        return np.asarray(chunk, dtype=np.float32).reshape(reference.shape)


def pack_actor(spec: ActorSpec, weights: Weights, version: int) -> bytes:
    """Serialise an actor; arguments as of `Actor`."""
    tensors = {"basis": weights.basis}
    for name, layers in (("actor", weights.layers), ("critics", weights.critics)):
        for index, (weight, bias) in enumerate(layers):
            tensors |= {f"{name}.{index}.weight": weight, f"{name}.{index}.bias": bias}
    # One entry: several would be written in random order, and equal actors should be equal bytes.
    counts = {"actor": len(weights.layers), "critics": len(weights.critics)}
    description = {"format": FORMAT, "spec": spec.__dict__, "version": version, "layers": counts}
    contiguous = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in tensors.items()}
    return save(contiguous, metadata={_METADATA_KEY: json.dumps(description)})


def unpack_actor(data: bytes, bundle_id: str) -> Actor:
    """Check and load an actor.

    Args:
        data: from `pack_actor`.
        bundle_id: the bundle in use.

    Raises:
        WeightsError: the bytes are damaged, of another version of rlt_ros, or belong to another bundle.
    """
    try:
        tensors = load(data)
        description = json.loads(_metadata(data)[_METADATA_KEY])
        if description.get("format", 1) != FORMAT:
            raise WeightsError(
                "format",
                f"these weights have format {description.get('format', 1)}, this version of rlt_ros flies {FORMAT}: "
                "train the actor anew, or fly it with the version that made it",
            )
        spec = ActorSpec(**{**description["spec"], "speeds": tuple(description["spec"]["speeds"])})
        weights = Weights(tensors["basis"], *(_layers(tensors, description, name) for name in ("actor", "critics")))
        version = int(description["version"])
    except WeightsError:
        raise
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError("format", f"not an actor of rlt_ros: {error}") from error
    if spec.bundle_id != bundle_id:
        raise WeightsError("bundle", f"made for bundle {spec.bundle_id}, in use is {bundle_id}")
    return (SquashedActor if spec.bound else Actor)(spec, weights, version)


def _layers(tensors: dict[str, Array32], description: dict[str, Any], name: str) -> list[Layer]:
    count = int(description["layers"][name])
    return [(tensors[f"{name}.{i}.weight"], tensors[f"{name}.{i}.bias"]) for i in range(count)]


def read_actor(path: Path, bundle_id: str) -> Actor:
    """An actor from a file.

    Raises:
        WeightsError: the file cannot be read, or `unpack_actor` refuses what is in it.
    """
    try:
        return unpack_actor(path.read_bytes(), bundle_id)
    except OSError as error:
        raise WeightsError("format", f"cannot read {path}: {error.strerror}") from error


def receive_actor(data: bytes, sha256: str, version: int, bundle_id: str, made: float) -> Actor:
    """Check and load an actor that came over the wire.

    Args:
        data: from `pack_actor`.
        sha256: announced hash of the data.
        version: announced version.
        bundle_id: the bundle in use.
        made: when the learner made it, seconds since the epoch.

    Raises:
        WeightsError: the data is not what was announced, or `unpack_actor` refuses it.
    """
    if hashlib.sha256(data).hexdigest() != sha256:
        raise WeightsError("checksum", "the data is not what its sha256 says")
    actor = unpack_actor(data, bundle_id)
    if actor.version != version:
        raise WeightsError("version", f"the message says version {version}, the weights say {actor.version}")
    actor.made = made
    return actor


def _metadata(data: bytes) -> dict[str, str]:
    """The header's free text: safetensors gives it for files only, and its layout is fixed (8-byte length, JSON)."""
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__")
    if not isinstance(metadata, dict):
        raise KeyError("no metadata")
    return metadata
