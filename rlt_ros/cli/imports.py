"""`rlt adapt import`: bundles of VLAs that others trained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rlt_ros.cli.lerobot import needs_lerobot
from rlt_ros.cli.options import Json, NewBundle, check_datasets, check_free, report
from rlt_ros.config import ConfigError

app = typer.Typer(help="A bundle of a VLA that others trained.", no_args_is_help=True)


@app.command("openpi")
def import_openpi(
    uri: Annotated[str, typer.Argument(help="Of the server: ws://HOST:PORT.")],
    out: NewBundle,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="LeRobot v3 dataset of the robot, may be repeated; for servers that are not 'rlt serve'."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "openpi",
    horizon: Annotated[int | None, typer.Option(min=1, help="Rows that the server sends; default: 50.")] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=1, help="Side of the square pictures that it takes, pixels; default: the dataset's."),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            help="CAMERA=KEY, may be repeated: where the server wants a camera; '.' goes into a map: images.cam_high."
        ),
    ] = None,
    state: Annotated[str, typer.Option(help="Where it wants the joint positions, in the same form.")] = "state",
    prompt: Annotated[str, typer.Option(help="Where it wants the instruction.")] = "prompt",
    channels_first: Annotated[bool, typer.Option(help="Send pictures as (3, H, W).")] = False,
    relative: Annotated[bool, typer.Option(help="Its rows are relative to the joint positions.")] = False,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds for an answer.")] = 0.5,
    as_json: Json = False,
) -> None:
    """A bundle whose VLA runs behind openpi's websocket protocol: 'rlt serve', or a server of openpi's own.

    What 'rlt serve' offers describes itself. openpi's own servers send actions only: such a bundle flies the base (its
    token_dim is 0); docs/openpi.md shows how to have embeddings from them too, for the RL token.
    """
    from rlt_ros.vla.imports import import_openpi

    settings: dict[str, Any] = {"timeout": timeout}
    if image:
        settings["images"] = {camera: _path(key) for camera, key in (_pair(text, "--image") for text in image)}
    settings |= {name: _path(key) for name, key in (("state", state), ("prompt", prompt)) if key != name}
    settings |= {name: True for name, on in (("channels_first", channels_first), ("relative", relative)) if on}
    check_free(out)
    made = import_openpi(uri, out, name, data or [], settings, horizon=horizon, image_size=image_size)
    report({"bundle": str(out), "id": made.id, "robot": made.robot, "token_dim": made.token_dim}, as_json)


@app.command("lerobot")
def import_lerobot(
    checkpoint: Annotated[
        Path, typer.Argument(help="LeRobot's pretrained_model directory: ACT, diffusion, SmolVLA, pi0, pi0.5.")
    ],
    out: NewBundle,
    data: Annotated[
        list[Path],
        typer.Option(help="LeRobot v3 dataset of the robot that it is to fly, may be repeated: joints, rate, scales."),
    ],
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "lerobot",
    camera: Annotated[
        list[str] | None,
        typer.Option(help="CHECKPOINT_NAME=ROBOT_NAME, may be repeated, where cameras have other names."),
    ] = None,
    instruction: Annotated[
        list[str] | None, typer.Option(help="Sentence that it is to know beside the dataset's, may be repeated.")
    ] = None,
    vlm: Annotated[
        Path | None, typer.Option(help="SmolVLA: directory of its language model's configuration and tokenizer.")
    ] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="pi0, pi0.5: directory of the PaliGemma tokenizer.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise that a flow begins with, the same in every pass.")] = 0,
    no_onnx: Annotated[bool, typer.Option("--no-onnx", help="Serve the checkpoint in process, by LeRobot.")] = False,
    as_json: Json = False,
) -> None:
    """A bundle of a policy that LeRobot trained.

    Every tensor is compared with the checkpoint's file. ACT and SmolVLA become one ONNX graph, which is compared with
    the policy and needs no LeRobot where it flies; the others are served by LeRobot ('rlt serve'). The RL token is
    trained afterwards: 'rlt adapt token'. LeRobot lives in an environment of its own: 'make lerobot'.
    """
    needs_lerobot()
    from rlt_ros.vla.imports import robot_of
    from rlt_ros.vla.lerobot_import import Given, import_lerobot

    check_free(out)
    check_datasets(data)
    cameras = dict(_pair(text, "--camera") for text in camera or [])
    given = Given(cameras, instruction or (), vlm, tokenizer, seed, not no_onnx)
    made = import_lerobot(checkpoint, out, name, robot_of(data), given, lambda line: print(line, file=sys.stderr))
    report({"bundle": str(out), "id": made.id, "backend": made.backend, "robot": made.robot, **made.training}, as_json)


def _pair(text: str, option: str) -> tuple[str, str]:
    left, separator, right = text.partition("=")
    if not (left and separator and right):
        raise ConfigError(f"{option} {text}: write NAME=NAME")
    return left, right


def _path(key: str) -> str | list[str]:
    return key.split(".") if "." in key else key
