"""`rlt doctor`: what works here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from rlt_ros.bringup.graph import Bringup
from rlt_ros.cli.options import BundlePath, Json, RobotFile
from rlt_ros.config import ConfigError


def doctor(
    what: Annotated[
        str,
        typer.Argument(
            help="'all'; 'bundle': the probe of a bundle; 'joystick': what is held and what it does, live; 'cameras': "
            "what is connected, and whether the configured ones keep up; 'robot': whether a running driver fits its "
            "description (--robot)."
        ),
    ] = "all",
    bundle: BundlePath = None,
    device: Annotated[str, typer.Option(help="Part of the joystick's name; default: the first one.")] = "",
    mapping: Annotated[Path | None, typer.Option(help="Mapping file; default: the one for the device.")] = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="How long to watch; 0: the joystick until Ctrl-C, the cameras for 5 s.")
    ] = 0.0,
    config: Annotated[Path | None, typer.Option(help="Parameter file whose camera_node is tried (cameras).")] = None,
    pick: Annotated[
        list[str] | None, typer.Option(metavar="NAME=X,Y,W,H", help="Crop to draw into the still (cameras).")
    ] = None,
    stills: Annotated[Path, typer.Option(help="Where a still of each camera goes (cameras).")] = Path("runs/stills"),
    robot: RobotFile = None,
    driver: Annotated[str, typer.Option(metavar="NAMESPACE", help="Of the robot's driver (robot).")] = "",
    move: Annotated[
        bool, typer.Option("--move", help="Move every joint by a degree, after asking twice (robot).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what works on this machine, and what to do about the rest."""
    if what == "bundle":
        _doctor_bundle(bundle, as_json)
        return
    if what == "joystick":
        from rlt_ros.cli.joystick import doctor_joystick

        raise typer.Exit(doctor_joystick(device, mapping, seconds, as_json))
    if what == "cameras":
        from rlt_ros.cli.cameras import doctor_cameras

        raise typer.Exit(doctor_cameras(config, pick or [], stills, seconds or 5.0, as_json))
    if what == "robot":
        from rlt_ros.cli.robot import doctor_robot

        raise typer.Exit(doctor_robot(robot, driver, seconds or 5.0, move=move, as_json=as_json))
    if what != "all":
        raise ConfigError(f"doctor looks at 'all', 'bundle', 'joystick', 'cameras' or 'robot', not '{what}'")
    from rlt_ros.bringup.doctor import checks

    console = Console(highlight=False)
    found = []
    for check in checks(bundle):
        found.append(check)
        if not as_json:
            mark = "[green]ok[/]  " if check.ok else "[red]FAIL[/]" if check.required else "[yellow]no[/]  "
            console.print(f"{mark} {check.name:<20} {check.detail}", soft_wrap=True)
            if check.remedy:
                console.print(f"     {'':<20} -> {check.remedy}", style="dim", soft_wrap=True, markup=False)
    bad = [check for check in found if check.required and not check.ok]
    if as_json:
        print(json.dumps({"ok": not bad, "checks": [check.to_dict() for check in found]}))
    raise typer.Exit(1 if bad else 0)


def _doctor_bundle(path: Path | None, as_json: bool) -> None:
    from rlt_ros.vla.bundle import load_bundle
    from rlt_ros.vla.motion import load_motion
    from rlt_ros.vla.phase import load_phase_head

    bundle = load_bundle(Bringup(bundle=path).bundle_path)
    head, motion = load_phase_head(bundle), load_motion(bundle)
    report = {
        "id": bundle.id,
        "robot": bundle.robot,
        "tasks": bundle.tasks,
        "cameras": list(bundle.cameras),
        "token_dim": bundle.token_dim,
        "horizon": bundle.horizon,
        "period": bundle.period,
        **{
            key: bundle.training[key]
            for key in ("token_probe", "token_readout_mm", "loss_held_out", "episodes", "observations")
            if key in bundle.training
        },
        "demonstrations": motion.summary(bundle.period) if motion is not None else None,
        "phase_head": head.report if head is not None else None,
    }
    print(json.dumps(report) if as_json else yaml.safe_dump(report, sort_keys=False), end="\n" if as_json else "")
