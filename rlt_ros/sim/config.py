"""Parameters of the simulated cell; what the cell is to the other nodes is in config/robots/aloha.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from rlt_ros.config import param


@dataclass(frozen=True)
class SimParameters:
    """Of `sim_node`."""

    task: str = param("ethernet", "task of the cell")
    setting: str = param("controlled", "start: controlled (parts in hand) or full (parts on the table)")
    clearance: float = param(0.0, "free play a side; 0: the task's own", unit="m", low=0.0, high=0.004)
    randomisation: float = param(0.0, "how much light, colours and cameras change at a reset", low=0.0, high=1.0)
    seed: int = param(0, "seed of the start positions", low=0)
    image_size: int = param(96, "side of the square camera images", unit="px", low=16, high=640)
    image_every: int = param(2, "control periods between two camera sets", low=1, high=50)
    priority: int = param(20, "SCHED_FIFO priority of the physics loop; 0: normal priority", low=0, high=99)
    human: bool = param(False, "play a human with a joystick (`joy`), who takes over where nothing moves on")
    demonstrations: int = param(0, "critical phases that this human flies from their start, the first ones", low=0)
    human_patience: float = param(
        1.0, "time without progress after which this human takes over, on average", unit="s", low=0.0
    )
    viewer: bool = param(False, "open MuJoCo's viewer (needs a display)")
