"""Draw docs/images/graph.svg: the nodes that `bringup` starts, and who says what to whom, from their docstrings.

Usage: graph_picture.py [FILE]
"""

from __future__ import annotations

import sys
from collections import defaultdict
from html import escape
from pathlib import Path

from node_pages import describe

from rlt_ros.bringup.graph import Bringup

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT = 1160, 560
BOX = (158, 44)
PLACES = {
    "sim_node": (100, 240),
    "camera_node": (100, 50),
    "vla_node": (380, 50),
    "executor_node": (660, 240),
    "learner_node": (1060, 50),
    "recorder_node": (1060, 240),
    "session_node": (660, 430),
    "teleop_node": (345, 320),
    "joystick_node": (100, 400),
    "console_node": (1060, 430),
}
COLOURS = {"sim_node": "#efe6d4", "camera_node": "#efe6d4", "executor_node": "#d5ecdf", "learner_node": "#dbe6f7"}
STANDARD = ("/diagnostics", "/rosout")
SAME = {"<command_topics>": "forward_position_controller/commands", "<success_topic>": "ground_truth"}
"""Names that are parameters: what they are in the cell."""
BENT = {("vla_node", "session_node"): -70, ("session_node", "sim_node"): -150, ("sim_node", "session_node"): 100}


def nodes() -> list[str]:
    """Everything that `rlt up` starts, on a robot or in the cell."""
    sim = Bringup(run_dir=Path("run")).nodes()
    return [*dict.fromkeys([spec.name for spec in sim] + ["camera_node"])]


def edges(names: list[str]) -> dict[tuple[str, str], list[str]]:
    """Topics between nodes, and below them the services that are called."""
    said = {name: describe(ROOT / "rlt_ros" / "nodes" / f"{name}.py") for name in names}
    out: dict[tuple[str, str], list[str]] = defaultdict(list)
    for speaker in names:
        for listener in names:
            if speaker == listener or {speaker, listener} == {"sim_node", "camera_node"}:
                continue
            heard = {SAME.get(topic, topic) for topic in said[listener].names("Subscribes")}
            for topic in (SAME.get(topic, topic) for topic in said[speaker].names("Publishes")):
                if topic in heard and topic not in STANDARD:
                    out[speaker, listener].append(topic)
    return dict(out)


def short(topic: str) -> str:
    """As it stands on the picture."""
    named = {"<camera>/color/image_raw": "3 images", "forward_position_controller/commands": "commands"}
    return named.get(topic, topic)


def draw() -> str:
    """The picture."""
    names = nodes()
    missing = set(names) - set(PLACES)
    if missing:
        raise SystemExit(f"say where {', '.join(sorted(missing))} stand in PLACES")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="#55606b"/></marker></defs>',
    ]
    labels = []
    said = edges(names)
    for (speaker, listener), topics in said.items():
        quiet = listener in ("recorder_node", "console_node")
        line, label = _edge(
            speaker,
            listener,
            [] if quiet else [short(topic) for topic in topics],
            quiet=quiet,
            both=(listener, speaker) in said,
        )
        lines.append(line)
        labels += label
    lines += labels
    for name in names:
        x, y = PLACES[name]
        width, height = BOX
        lines.append(
            f'<rect x="{x - width / 2}" y="{y - height / 2}" width="{width}" height="{height}" rx="8" '
            f'fill="{COLOURS.get(name, "#eef1f4")}" stroke="#39434d" stroke-width="1.5"/>'
            f'<text x="{x}" y="{y + 5}" text-anchor="middle" font-size="16" font-weight="600">{name}</text>'
        )
    notes = (
        "thin lines: what recorder and console hear of everybody",
        "camera_node takes the place of sim_node's cameras on a robot, whose driver takes the place of its joints",
        "teleop_node and console_node also call the services of session and executor",
    )
    for number, text in enumerate(notes):
        at = HEIGHT - 54 + 18 * number
        lines.append(f'<text x="20" y="{at}" font-size="13" fill="#55606b">{escape(text)}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _edge(speaker: str, listener: str, topics: list[str], *, quiet: bool, both: bool) -> tuple[str, list[str]]:
    (x0, y0), (x1, y1) = PLACES[speaker], PLACES[listener]
    bend = BENT.get((speaker, listener), 34 if both and not quiet else 12)
    length = max(1.0, ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5)
    middle = ((x0 + x1) / 2 - bend * (y1 - y0) / length, (y0 + y1) / 2 + bend * (x1 - x0) / length)
    start, end = _border(x0, y0, *middle), _border(x1, y1, *middle)
    style = (
        'stroke="#c3cbd3" stroke-width="1"' if quiet else 'stroke="#55606b" stroke-width="1.6" marker-end="url(#tip)"'
    )
    path = f"M{start[0]:.0f} {start[1]:.0f}Q{middle[0]:.0f} {middle[1]:.0f} {end[0]:.0f} {end[1]:.0f}"
    line = f'<path d="{path}" fill="none" {style}/>'
    x, y = ((start[axis] + 2 * middle[axis] + end[axis]) / 4 for axis in (0, 1))
    label = [
        f'<text x="{x:.0f}" y="{y + 4 + 14 * (number - (len(topics) - 1) / 2):.0f}" text-anchor="middle" '
        f'font-size="12.5" stroke="#fff" stroke-width="4" paint-order="stroke" fill="#1b2127">{escape(topic)}</text>'
        for number, topic in enumerate(topics)
    ]
    return line, label


def _border(x: float, y: float, to_x: float, to_y: float) -> tuple[float, float]:
    """Where the line from the middle of a box towards a point leaves the box."""
    dx, dy = to_x - x, to_y - y
    scale = min((BOX[0] / 2 + 3) / abs(dx) if dx else float("inf"), (BOX[1] / 2 + 3) / abs(dy) if dy else float("inf"))
    return x + dx * scale, y + dy * scale


def main() -> None:
    """Write the file."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images" / "graph.svg"
    out.write_text(draw())


if __name__ == "__main__":
    main()
