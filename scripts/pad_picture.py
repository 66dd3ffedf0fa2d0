"""Draw docs/images/pad.svg: what the buttons of a game pad do, from config/joystick/xbox.yaml.

Usage: pad_picture.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

from rlt_ros.share import share_directory
from rlt_ros.teleop.mapping import Mapping, load_mapping

WIDTH, HEIGHT = 980, 450
SPOTS = {0: (610, 265), 1: (645, 232), 2: (575, 232), 3: (610, 199), 4: (405, 225), 6: (495, 225)}
SPOTS |= {9: (300, 130), 10: (600, 130), 11: (360, 300), 13: (335, 325)}
"""Where each button is, by its index in the layout of game controllers."""
STICKS = {"left": (290, 232), "right": (540, 325)}
TRIGGERS = {"left": (300, 98), "right": (600, 98)}
SHORT = {
    "takeover": "TAKE OVER (hold)",
    "switch_arm": "next arm",
    "single_joints": "single joints on/off",
    "begin_critical": "hard part begins",
    "success": "done",
    "failure": "failed",
    "undo": "undo label",
    "ready": "start / scene is ready",
    "estop": "EMERGENCY STOP",
}
CALLOUTS = {
    0: (735, 290, "start"),
    1: (735, 245, "start"),
    2: (552, 178, "middle"),
    3: (735, 200, "start"),
    4: (370, 40, "middle"),
    6: (470, 65, "middle"),
    10: (735, 130, "start"),
    11: (165, 345, "end"),
    13: (165, 380, "end"),
}
"""Where the words stand, and how they are anchored."""


def draw(mapping: Mapping) -> str:
    """The picture as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-40 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="15">',
        f'<rect x="-40" width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        '<path d="M270 150 C330 130 570 130 630 150 C700 165 730 330 712 400 C700 435 665 435 640 400 L585 365 '
        'L315 365 L260 400 C235 435 200 435 188 400 C170 330 200 165 270 150 Z" fill="#eceff3" stroke="#596273" '
        'stroke-width="2"/>',
    ]
    for (x, y), side in zip(TRIGGERS.values(), ("open", "close"), strict=True):
        parts.append(_box(x, y, "#c9d1dc"))
        anchor, at = ("end", 165) if side == "open" else ("start", 735)
        parts.append(_line(x + (-36 if side == "open" else 36), y, at + (6 if side == "open" else -6), 90))
        parts.append(_text(at, 95, f"trigger: {side} the gripper", anchor))
    for x, y in STICKS.values():
        parts.append(f'<circle cx="{x}" cy="{y}" r="33" fill="#d6dce5" stroke="#596273"/>')
        parts.append(f'<circle cx="{x}" cy="{y}" r="20" fill="#8a94a6"/>')
    turn = mapping.labels.get(mapping.motions["", "roll"].held, "")
    parts += [
        _line(257, 232, 171, 225),
        _text(165, 222, "stick: forward, left", "end"),
        _text(165, 241, f"with {turn}: tilt", "end"),
        _line(540, 358, 540, 408),
        _text(540, 425, "stick: up, turn left", "middle"),
    ]
    for index, function in mapping.buttons.items():
        x, y = SPOTS[index]
        strong = function.value in ("takeover", "estop")
        shape = _box(x, y, "#7fb685") if index == 10 else f'<circle cx="{x}" cy="{y}" r="15" fill="#c9d1dc"/>'
        if function.value == "estop":
            shape = f'<circle cx="{x}" cy="{y}" r="15" fill="#d96459"/>'
        parts += [shape, _text(x, y + 5, mapping.labels[index], "middle", size=12)]
        at, to, anchor = CALLOUTS[index]
        edge = at - 6 if anchor == "start" else at + 6 if anchor == "end" else at
        parts.insert(3, _line(x, y, edge, to - 5 if anchor != "middle" else to + 6))
        parts.append(_text(at, to, SHORT[function.value], anchor, bold=strong))
    held = mapping.motions["", "roll"].held
    x, y = SPOTS[held]
    parts += [_box(x, y, "#c9d1dc"), _text(x, y + 5, mapping.labels[held], "middle", size=12)]
    parts += [_line(x - 36, y, 171, 126), _text(165, 131, "hold: the left stick tilts", "end")]
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _text(x: int, y: int, text: str, anchor: str, *, bold: bool = False, size: int = 15) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}"{weight} fill="#20262f">{text}</text>'


def _line(x: int, y: int, to_x: int, to_y: int) -> str:
    return f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" stroke="#9aa4b2" stroke-width="1.5"/>'


def _box(x: int, y: int, colour: str) -> str:
    return f'<rect x="{x - 36}" y="{y - 13}" width="72" height="26" rx="9" fill="{colour}" stroke="#596273"/>'


def main() -> None:
    """Write the file."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else share_directory() / "docs" / "images" / "pad.svg"
    out.write_text(draw(load_mapping(share_directory() / "config" / "joystick" / "xbox.yaml")))


if __name__ == "__main__":
    main()
