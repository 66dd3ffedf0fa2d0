"""The parameters of `console_node`."""

from __future__ import annotations

from dataclasses import dataclass

from rlt_ros.config import ConfigError, param
from rlt_ros.console.access import is_loopback


@dataclass(frozen=True)
class ConsoleParameters:
    """Of `console_node`."""

    host: str = param("127.0.0.1", "address it listens on; any but this machine's own needs `token_file`")
    port: int = param(8700, "port; taken: the next free one of ten; 0: any free one", low=0, high=65535)
    hosts: tuple[str, ...] = param(("",), "further names under which browsers may reach it")
    token_file: str = param(
        "", "file with the token that browsers must give, made with a random one if absent; empty: none is asked for"
    )
    read_only: bool = param(False, "the page shows everything, but all it can do is to stop the robot")
    cameras: tuple[str, ...] = param(("",), "cameras to show")
    picture_rate: float = param(5.0, "pictures of each camera", unit="Hz", low=0.2, high=30.0)

    def check(self) -> None:
        """Look at what ranges cannot tell.

        Raises:
            ConfigError: the page would be open to the network.
        """
        if not is_loopback(self.host) and not self.token_file:
            raise ConfigError(
                f"console_node.host {self.host} lets others on the network command the robot: set token_file too, "
                "or keep 127.0.0.1 and use 'ssh -L 8700:127.0.0.1:8700 ROBOT'"
            )
