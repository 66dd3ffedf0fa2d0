"""The actor in numpy: small enough to run at chunk boundaries inside the control loop.

Weights travel as safetensors; the metadata says which bundle, sizes and version they belong to. The layout is
written by `rlt_ros.rl.actor_critic.export_actor`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rlt_ros.types import Array32

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
        noise_chunk: standard deviation of exploration noise that is constant over a chunk, in action units.
        noise_tick: standard deviation of exploration noise drawn for every row.
        noise_speed: an exploring episode is flown at exp(z) times the actor's speed, z normal with this deviation.
        pass_through: the actor sees the reference and adds to it; without, it sees zeros (an ablation).
    """

    bundle_id: str
    token_dim: int
    joints: int
    chunk: int
    noise_chunk: float = 0.0
    noise_tick: float = 0.0
    noise_speed: float = 0.0
    pass_through: bool = True


class Actor:
    """`mu(x, ref)`: the chunk, as the masked reference plus what a perceptron adds to it."""

    def __init__(
        self, spec: ActorSpec, layers: list[tuple[Array32, Array32]], version: int, noise: Array32 | None = None
    ) -> None:
        """Use weights of shape (in, out) and biases of shape (out,), first layer first.

        Args:
            spec: what it expects and gives.
            layers: of the perceptron.
            version: of the weights.
            noise: shape (K, C * J); exploration adds `z @ noise` to a chunk, z standard normal.

        Raises:
            WeightsError: a layer has the wrong shape or is not finite.
        """
        size = spec.token_dim + 2 * spec.joints + spec.chunk * spec.joints
        for index, (weight, bias) in enumerate(layers):
            if weight.ndim != 2 or weight.shape[0] != size or bias.shape != weight.shape[1:]:
                raise WeightsError("shape", f"layer {index} has shapes {weight.shape}, {bias.shape}; input is {size}")
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise WeightsError("finite", f"layer {index} is not finite")
            size = weight.shape[1]
        if size != spec.chunk * spec.joints:
            raise WeightsError("shape", f"the actor gives {size} numbers, expected {spec.chunk * spec.joints}")
        if noise is not None and (noise.ndim != 2 or noise.shape[1] != size or not np.isfinite(noise).all()):
            raise WeightsError("shape", f"noise must be finite and have {size} columns, its shape is {noise.shape}")
        self.spec = spec
        self.noise = noise
        self.version = version
        self.made = 0.0
        self._layers = layers

    def __call__(self, token: Array32, proprio: Array32, reference: Array32) -> Array32:
        """Normalised action chunk, shape (C, J).

        Args:
            token: RL token, shape (D,).
            proprio: normalised proprioception, shape (2 J,).
            reference: normalised reference rows, shape (C, J).
        """
        flat = reference.reshape(-1) if self.spec.pass_through else np.zeros(reference.size, dtype=np.float32)
        x = np.concatenate([token, proprio, flat])
        for weight, bias in self._layers[:-1]:
            x = np.maximum(x @ weight + bias, 0.0)
        weight, bias = self._layers[-1]
        chunk = flat + x @ weight + bias
        return np.asarray(chunk, dtype=np.float32).reshape(reference.shape)

    def exploration(self, generator: np.random.Generator) -> Array32:
        """Exploration noise of a chunk, shape (C, J): along directions, constant over the chunk, and white."""
        spec = self.spec
        constant = generator.standard_normal((1, spec.joints), dtype=np.float32) * spec.noise_chunk
        white = generator.standard_normal((spec.chunk, spec.joints), dtype=np.float32) * spec.noise_tick
        noise = constant + white
        if self.noise is not None:
            z = generator.standard_normal(len(self.noise), dtype=np.float32)
            noise += (z @ self.noise).reshape(noise.shape)
        return np.asarray(noise, dtype=np.float32)


def pack_actor(
    spec: ActorSpec, layers: list[tuple[Array32, Array32]], version: int, noise: Array32 | None = None
) -> bytes:
    """Serialise an actor; arguments as of `Actor`."""
    tensors = {} if noise is None else {"noise": np.ascontiguousarray(noise, dtype=np.float32)}
    for index, (weight, bias) in enumerate(layers):
        tensors[f"{index}.weight"] = np.ascontiguousarray(weight, dtype=np.float32)
        tensors[f"{index}.bias"] = np.ascontiguousarray(bias, dtype=np.float32)
    # One entry: several would be written in random order, and equal actors should be equal bytes.
    description = {"spec": spec.__dict__, "version": version, "layers": len(layers)}
    return save(tensors, metadata={_METADATA_KEY: json.dumps(description)})


def unpack_actor(data: bytes, bundle_id: str) -> Actor:
    """Check and load an actor.

    Args:
        data: from `pack_actor`.
        bundle_id: the bundle in use.

    Raises:
        WeightsError: the bytes are damaged, or belong to another bundle.
    """
    try:
        tensors = load(data)
        description = json.loads(_metadata(data)[_METADATA_KEY])
        spec = ActorSpec(**description["spec"])
        layers = [(tensors[f"{i}.weight"], tensors[f"{i}.bias"]) for i in range(int(description["layers"]))]
        version = int(description["version"])
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise WeightsError("format", f"not an actor of rlt_ros: {error}") from error
    if spec.bundle_id != bundle_id:
        raise WeightsError("bundle", f"made for bundle {spec.bundle_id}, in use is {bundle_id}")
    return Actor(spec, layers, version, tensors.get("noise"))


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
