"""Parameters of the recorder."""

from __future__ import annotations

from dataclasses import dataclass

from rlt_ros.config import ConfigError, param
from rlt_ros.types import Phase


@dataclass(frozen=True)
class RecorderParameters:
    """Of `recorder_node`."""

    directory: str = param("", "of the journal")
    robots: tuple[str, ...] = param(("",), "namespaces of the robots; empty: the node's own")
    phases: tuple[str, ...] = param(
        ("critical",), "phases whose steps are recorded: base, critical, reset, ended, idle"
    )
    images: bool = param(False, "record the cameras too, as JPEG")
    cameras: tuple[str, ...] = param(("",), "cameras to record with `images`")
    segment_size: float = param(64.0, "size from which on the next episode begins a new file", unit="MB", low=0.01)
    reserve: float = param(
        2.0, "free space on the disk below which nothing is recorded; below twice as much no images", unit="GB", low=0.0
    )
    budget: float = param(0.0, "size of the journal from which on nothing is recorded; 0: any", unit="GB", low=0.0)

    def check(self) -> None:
        """Look at what ranges cannot tell.

        Raises:
            ConfigError: there is no directory, or a phase is unknown.
        """
        if not self.directory:
            raise ConfigError("recorder_node: set directory, where the journal goes")
        known = [phase.name.lower() for phase in Phase]
        for name in self.phases:
            if name not in known:
                raise ConfigError(f"recorder_node: phase '{name}' is unknown: choose from {', '.join(known)}")
