"""`rlt doctor joystick`: what is connected, which button does what, and what is held now."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from rlt_ros.share import share_directory
from rlt_ros.teleop.device import JoyState, Joystick, devices
from rlt_ros.teleop.mapping import EXPLANATIONS, Mapping, Source, find_mapping, load_mapping

_REFRESH = 10


def doctor_joystick(device: str, mapping: Path | None, seconds: float, as_json: bool) -> int:
    """Show the live state of a joystick.

    Args:
        device: part of its name; empty: the first one.
        mapping: file to look at it through; None: the one that fits its name.
        seconds: how long; 0: until Ctrl-C, or for one look with `as_json`.
        as_json: print one JSON object at the end instead of a table.

    Returns:
        The exit code: 1 where no joystick is connected.
    """
    chosen = load_mapping(mapping) if mapping is not None else None
    found = devices()
    joystick = Joystick(device)
    list(joystick.poll())
    if not joystick.name:
        wanted = f"'{device}' is not among" if device else "no joystick among"
        message = f"{wanted} {', '.join(found) or 'nothing that is connected'}"
        remedy = "connect one; in a container give it /dev/input; your user may have to be in the group 'input'"
        print(json.dumps({"devices": found, "error": message, "remedy": remedy}) if as_json else f"{message}: {remedy}")
        return 1
    if chosen is None:
        chosen = find_mapping(share_directory() / "config" / "joystick", joystick.name, joystick.layout)
    state = joystick.state()
    console = Console(highlight=False)
    until = time.monotonic() + (seconds or (0.0 if as_json or not console.is_terminal else float("inf")))
    pressed: list[str] = []
    awake: set[Source] = set()
    try:
        with Live(console=console, refresh_per_second=_REFRESH, auto_refresh=False) as live:
            while True:
                for state in joystick.poll():
                    if chosen is not None and chosen.fits(state.axes, state.buttons):
                        awake |= chosen.at_rest(state.axes, state.buttons)
                        pressed += [f.value for f in sorted(chosen.held(state.buttons), key=lambda f: f.value)]
                if joystick.name:
                    state = joystick.state()
                    if chosen is not None and chosen.fits(state.axes, state.buttons):
                        awake |= chosen.at_rest(state.axes, state.buttons)
                else:
                    awake = set()
                if not as_json:
                    live.update(_table(joystick, chosen, state, awake), refresh=True)
                if time.monotonic() >= until:
                    break
                time.sleep(1 / _REFRESH)
    except KeyboardInterrupt:
        pass
    if as_json:
        report: dict[str, Any] = {
            "devices": found,
            "device": joystick.name,
            "layout": joystick.layout,
            "mapping": chosen.name if chosen is not None else None,
            "axes": [round(value, 3) for value in state.axes],
            "buttons": list(state.buttons),
            "functions_seen": list(dict.fromkeys(pressed)),
            "not_seen_at_rest": chosen.names(set(chosen.motions.values()) - awake) if chosen is not None else [],
        }
        print(json.dumps(report))
    joystick.close()
    return 0


def _table(joystick: Joystick, mapping: Mapping | None, state: JoyState, awake: set[Source]) -> Table:
    name = joystick.name or "gone: connect it again"
    title = f"{name}, numbered as {joystick.layout or '-'}, mapping {mapping.name if mapping else 'none: copy one'}"
    table = Table("", "index", "now", "does", title=title, title_justify="left")
    for index, value in enumerate(state.axes):
        bar = ("<" if value > 0 else ">") * round(8 * abs(value))
        does = _motions(mapping, axis=index)
        sleeping = [source for source in _sources(mapping) if source.axis == index and source not in awake]
        if sleeping:
            does += f" [yellow](moves nothing: not seen at its rest, {sleeping[0].rest:g})[/]"
        table.add_row("axis", str(index), f"{value:+.2f} {bar}", does)
    for index, value in enumerate(state.buttons):
        does = _motions(mapping, button=index)
        if mapping is not None and index in mapping.buttons:
            does = f"[bold]{mapping.buttons[index].value}[/]: {EXPLANATIONS[mapping.buttons[index]]}"
        label = f" {mapping.labels[index]}" if mapping is not None and index in mapping.labels else ""
        if does or value:
            table.add_row("button", f"{index}{label}", "[green]held[/]" if value else "", does)
    return table


def _sources(mapping: Mapping | None) -> list[Source]:
    return list(mapping.motions.values()) if mapping is not None else []


def _motions(mapping: Mapping | None, axis: int = -1, button: int = -1) -> str:
    out = []
    for (arm, motion), source in (mapping.motions if mapping is not None else {}).items():
        which = f"{arm} {motion}".strip()
        if axis >= 0 and source.axis == axis:
            out.append(
                which + (f" while {mapping.labels.get(source.held, source.held)} is held" if source.held >= 0 else "")
            )
        elif button >= 0 and button in (source.button, source.held):
            out.append(which)
    return ("held: " if button >= 0 and out else "") + ", ".join(out)
