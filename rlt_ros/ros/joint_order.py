"""Joints by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import JointState


class JointOrder:
    """Picks joints by name from messages that may list them in any order."""

    def __init__(self, names: Sequence[str]) -> None:
        """Deliver values in the order of `names`."""
        self._names = tuple(names)
        self._last_names: tuple[str, ...] = ()
        self._index: NDArray[np.intp] = np.zeros(0, dtype=np.intp)

    def index(self, names: Sequence[str]) -> NDArray[np.intp]:
        """Positions of this order's joints in `names`.

        Raises:
            ValueError: a joint is missing.
        """
        given = tuple(names)
        if given != self._last_names:
            missing = [name for name in self._names if name not in given]
            if missing:
                raise ValueError(f"joints {', '.join(missing)} are missing in {', '.join(given)}")
            self._index = np.array([given.index(name) for name in self._names], dtype=np.intp)
            self._last_names = given
        return self._index

    def read(self, message: JointState) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions and velocities, each (J,); velocities are NaN where the driver gives none.

        Raises:
            ValueError: a joint is missing, or the arrays do not fit the names.
        """
        index = self.index(message.name)
        count = len(message.name)
        position = np.array(message.position, dtype=np.float64)
        velocity = np.array(message.velocity, dtype=np.float64) if message.velocity else np.full(count, np.nan)
        if len(position) != count or len(velocity) != count:
            raise ValueError(
                f"joint_states has {count} names, {len(position)} positions and {len(velocity)} velocities"
            )
        return position[index], velocity[index]
