"""A bundle with its VLA and token encoder loaded: the one way in which everybody asks for token and reference."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlt_ros.config import ConfigError
from rlt_ros.missing import remedy
from rlt_ros.vla.backend import Inference, InferenceError, Pass, VlaBackend
from rlt_ros.vla.bundle import END_EFFECTOR, Bundle, BundleError, Encoder

_WARM_UP_PASSES = 3


class LoadedVla:
    """A bundle's back end and token encoder; everything they give is checked here."""

    def __init__(self, bundle: Bundle, providers: tuple[str, ...] = ("CPUExecutionProvider",), threads: int = 1):
        """Load and warm up.

        Args:
            bundle: from `load_bundle`.
            providers: ONNX Runtime execution providers in order of preference; those not installed are skipped.
            threads: of one pass on the CPU.

        Raises:
            BundleError: the VLA cannot be loaded, or does not do what the bundle says.
            ConfigError: a library that the bundle's back end needs is not installed.
        """
        self.bundle = bundle
        self._images_shape = (len(bundle.cameras), bundle.image_size, bundle.image_size, 3)
        self._backend = _make(bundle, providers, threads)
        self._encode = _make_encoder(bundle, bundle.encoder, providers, threads) if bundle.encoder else None
        self._tips = bundle.tips() if END_EFFECTOR in (bundle.state, bundle.actions) else None
        self.set_instruction(bundle.instruction())

    @property
    def provider(self) -> str:
        """What it runs on."""
        return self._backend.provider

    @property
    def skipped(self) -> tuple[str, ...]:
        """What was asked for before that and is not there."""
        return self._backend.skipped

    def warm_up(self) -> None:
        """Some passes over black pictures: the first ones allocate and compile.

        Raises:
            BundleError: the VLA does not do what the bundle says.
        """
        for _ in range(_WARM_UP_PASSES):
            try:
                self.infer(np.zeros(self._images_shape, np.uint8), np.zeros(len(self.bundle.joints)))
            except InferenceError as error:
                raise BundleError(f"{self.bundle.directory} does not run: {error}") from error

    def set_instruction(self, instruction: str) -> None:
        """See `VlaBackend`."""
        self._backend.set_instruction(instruction)

    def infer(self, images: NDArray[np.uint8], position: NDArray[Any]) -> Inference:
        """One pass: token and reference of the same moment.

        Args:
            images: shape (cameras, size, size, 3), RGB, in the bundle's camera order.
            position: joint positions in the bundle's order, shape (J,).

        Raises:
            InferenceError: the images have the wrong shape, the model fails, token or reference is not finite or of
                another shape than the bundle says, or the token is all zero.
        """
        return self.infer_batch(images[None], np.asarray(position)[None])[0]

    @property
    def batch(self) -> int:
        """Moments of one pass at most; that of a server is known after the first answer."""
        return self._backend.batch

    def infer_batch(self, images: NDArray[np.uint8], positions: NDArray[Any]) -> list[Inference]:
        """As many passes as it takes; each moment's seconds are its share.

        Args:
            images: of N moments, shape (N, cameras, size, size, 3).
            positions: joint positions, shape (N, J).

        Raises:
            InferenceError: see `infer`.
        """
        if images.shape[1:] != self._images_shape:
            raise InferenceError(f"images have shape {images.shape[1:]}, the bundle needs {self._images_shape}")
        made: list[Inference] = []
        while len(made) < len(images):
            start, here = time.perf_counter(), slice(len(made), len(made) + self.batch)
            given = self._backend.infer(images[here], self._state(positions[here]))
            if len(given) != len(images[here]):
                raise InferenceError(f"the VLA answers {len(given)} of {len(images[here])} moments")
            tokens = [self._token(one) for one in given]
            seconds = (time.perf_counter() - start) / len(given)
            made += [
                self._checked(one, token, seconds, position)
                for one, token, position in zip(given, tokens, positions[here], strict=True)
            ]
        return made

    def _state(self, positions: NDArray[Any]) -> NDArray[np.float32]:
        """What the VLA is told of the robot."""
        told = self._tips.numbers(positions) if self._tips and self.bundle.state == END_EFFECTOR else positions
        return np.asarray(told, np.float32)

    def _reference(self, rows: NDArray[Any], position: NDArray[Any]) -> NDArray[np.float32]:
        """Joint targets of the VLA's rows."""
        if self._tips is None or self.bundle.actions != END_EFFECTOR:
            return np.asarray(rows, np.float32)
        if rows.shape[1:] != (self._tips.action_size,) or not np.isfinite(rows).all():
            raise InferenceError(f"rows have shape {rows.shape}, or are not finite; a row has {self._tips.action_size}")
        return np.asarray(self._tips.rows(position, rows), np.float32)

    def _checked(self, given: Pass, token: NDArray[np.float32], seconds: float, position: NDArray[Any]) -> Inference:
        reference = self._reference(given.reference, position)
        shapes = (token.shape, reference.shape)
        expected = ((self.bundle.token_dim,), (self.bundle.horizon, len(self.bundle.joints)))
        if shapes != expected:
            raise InferenceError(f"token and reference have shapes {shapes}, bundle.yaml says {expected}")
        if not (np.isfinite(token).all() and np.isfinite(reference).all()):
            raise InferenceError("token or reference is not finite")
        if len(token) and not token.any():
            raise InferenceError("the RL token is all zero")
        return Inference(token, reference, seconds, given.embeddings)

    def close(self) -> None:
        """Let go of connections and memory."""
        self._backend.close()

    def _token(self, given: Pass) -> NDArray[np.float32]:
        if given.token is not None:
            return np.asarray(given.token, np.float32)
        if not self.bundle.token_dim:
            return np.zeros(0, np.float32)
        if self._encode is None or given.embeddings is None:
            raise InferenceError(
                "the VLA gives neither an RL token nor the embeddings that it is made of: train the token with "
                "'rlt adapt token', or set token_dim to 0 in bundle.yaml for flights without RL"
            )
        return self._encode(given.embeddings)


def _make(bundle: Bundle, providers: tuple[str, ...], threads: int) -> VlaBackend:
    if not bundle.has_vla:
        raise ConfigError(
            f"bundle '{bundle.name}' has no VLA: with it a human flies, and 'rlt collect --live' records; "
            "'rlt adapt --data' makes one with a VLA of that"
        )
    try:
        if bundle.backend == "onnx":
            from rlt_ros.vla.onnx_backend import OnnxBackend

            return OnnxBackend(bundle, providers, threads)
        if bundle.backend == "openpi":
            from rlt_ros.vla.openpi_backend import OpenpiBackend

            return OpenpiBackend(bundle)
        if bundle.backend == "lerobot":
            from rlt_ros.vla.lerobot_backend import LeRobotBackend

            return LeRobotBackend(bundle, threads)
    except ImportError as error:
        how = remedy(error, bundle.backend)
        if bundle.backend == "lerobot":
            how = (
                "LeRobot has an environment of its own: serve the bundle there ('rlt serve'), and make one of the "
                "server for the robot ('rlt adapt import openpi'); docs/your_vla.md"
            )
        raise ConfigError(f"back end '{bundle.backend}' of bundle '{bundle.name}': {how}") from error
    raise BundleError(f"{bundle.directory}: unknown back end '{bundle.backend}'; known are onnx, lerobot, openpi")


def _make_encoder(bundle: Bundle, encoder: Encoder, providers: tuple[str, ...], threads: int) -> Any:
    from rlt_ros.vla.onnx_backend import OnnxEncoder

    return OnnxEncoder(bundle.directory / encoder.file, providers, threads)
