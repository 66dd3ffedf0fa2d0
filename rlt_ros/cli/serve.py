"""`rlt serve`: a bundle's VLA on another machine, or in another process, than the robot's."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

import typer

from rlt_ros.bringup.graph import Bringup
from rlt_ros.cli.lerobot import needs_lerobot
from rlt_ros.cli.options import BundlePath
from rlt_ros.config import ConfigError
from rlt_ros.missing import remedy
from rlt_ros.vla.config import VlaParameters


def serve(
    bundle: BundlePath = None,
    host: Annotated[
        str,
        typer.Option(help="Address to listen at; 0.0.0.0 lets every machine of the network ask, without a password."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    provider: Annotated[
        list[str] | None,
        typer.Option(help="ONNX Runtime provider, may be repeated, best first; default: TensorRT, CUDA, CPU."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of one pass on the CPU.")] = 1,
) -> None:
    """Serve a bundle over openpi's websocket protocol, until Ctrl-C.

    A reply holds actions, RL token and embeddings of one pass. Clients are vla_node with a bundle whose back end is
    'openpi' ('rlt adapt import openpi ws://HOST:PORT --out DIR' makes one), and openpi's own. 'curl HOST:PORT/healthz'
    says OK when it is ready.
    """
    try:
        from rlt_ros.vla.openpi_server import VlaServer
    except ImportError as error:
        raise ConfigError(remedy(error, "openpi")) from error
    from rlt_ros.vla.bundle import load_bundle
    from rlt_ros.vla.loaded import LoadedVla

    loaded = load_bundle(Bringup(bundle=bundle).bundle_path)
    if loaded.backend == "lerobot":
        needs_lerobot()
    vla = LoadedVla(loaded, tuple(provider or VlaParameters.providers), threads)
    server = VlaServer(vla, lambda line: print(line, flush=True))
    skipped = f" (not available: {', '.join(vla.skipped)})" if vla.skipped else ""
    print(f"warming up {loaded.id} on {vla.provider}{skipped}", flush=True)
    server.warm_up()

    def ready(actual: int) -> None:
        print(f"serving {loaded.id} at ws://{host}:{actual}; Ctrl-C ends it", flush=True)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(server.run(host, port, ready))
    vla.close()
    print(f"{server.passes} passes", flush=True)
