"""What the VLA said last, if it can be flown."""

from __future__ import annotations

import numpy as np

from rlt_ros.refusals import Refusals
from rlt_ros.types import PolicyInput


class PolicyInputs:
    """The newest policy input that is believed."""

    def __init__(self, bundle_id: str, joints: int, period: float, refusals: Refusals) -> None:
        """Know nothing yet.

        Args:
            bundle_id: the only bundle whose inputs are flown.
            joints: their number.
            period: of the control loop, s; an input may be from the future by so much.
            refusals: where refused inputs are counted.
        """
        self._bundle_id, self._joints, self._period, self._refusals = bundle_id, joints, period, refusals
        self._newest: PolicyInput | None = None
        self._since = -np.inf

    def read(self, now: float, message: PolicyInput) -> None:
        """A new reference and token; refused if it is not newer, not ours, malformed or from the future."""
        fault = self._fault(now, message)
        if not fault:
            self._newest = message
            return
        detail = f"{now - message.captured:.3f} s old"
        if fault == "wrong_bundle":
            detail = f"{message.bundle_id}, flown is {self._bundle_id}"
        self._refusals.refuse(f"input_{fault}", detail)

    def not_before(self, time: float) -> None:
        """What was seen before shows another scene."""
        self._since = max(self._since, time)

    def forget(self) -> None:
        """As if nothing had come."""
        self._newest = None

    def usable(self, now: float, longest: float) -> PolicyInput | None:
        """The newest one, if it was captured since `not_before`, and at most `longest` seconds ago."""
        newest = self._newest
        if newest is None or newest.captured < self._since:
            return None
        return newest if now - newest.captured <= longest else None

    @property
    def missing(self) -> str:
        """Why none is usable, as a reason."""
        return "no_policy_input" if self._newest is None else "policy_input_stale"

    def _fault(self, now: float, message: PolicyInput) -> str:
        if message.bundle_id != self._bundle_id:
            return "wrong_bundle"
        if message.reference.ndim != 2 or message.reference.shape[1] != self._joints:
            return "shape"
        if not (np.isfinite(message.period) and message.period > 0 and np.isfinite(message.captured)):
            return "not_finite"
        if message.position.shape != (self._joints,) or message.token.ndim != 1:
            return "shape"
        if not all(np.isfinite(values).all() for values in (message.reference, message.token, message.position)):
            return "not_finite"
        if len(message.token) and not message.token.any():
            return "token_zero"
        if message.captured > now + self._period:
            return "future"
        if self._newest is not None and message.captured <= self._newest.captured:
            return "out_of_order"
        return ""
