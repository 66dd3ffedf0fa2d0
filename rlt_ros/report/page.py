"""The HTML file: everything inside, nothing fetched, no scripts."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from rlt_ros import __version__
from rlt_ros.report.data import RunData
from rlt_ros.report.figures import figures, png
from rlt_ros.report.tables import ablations, comparison
from rlt_ros.types import Outcome

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b2127; background: #fff; max-width: 68rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #d5dbe1; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; display: block;
  overflow-x: auto; }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid #e6eaee; vertical-align: top; }
th { color: #5b6874; font-weight: 500; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; }
.tile { background: #f2f5f7; border-radius: .5rem; padding: .6rem 1rem; min-width: 9rem; }
.tile b { display: block; font-size: 1.5rem; } .tile span { color: #5b6874; font-size: .85rem; }
figure { margin: 1rem 0; } img { max-width: 100%; } figcaption, .note { color: #5b6874; font-size: .9rem; }
pre { background: #f2f5f7; padding: .7rem; border-radius: .4rem; overflow-x: auto; font-size: .8rem; }
"""


def write_report(runs: Sequence[RunData], out: Path) -> list[Path]:
    """Write the page, and a copy of every figure beside it in `<name>_figures/`.

    Args:
        runs: one, or several to be compared.
        out: the HTML file.

    Returns:
        All files that were written.

    Raises:
        OSError: they cannot be written.
    """
    pictures = {name: (caption, png(figure)) for name, (caption, figure) in figures(runs).items()}
    folder = out.with_name(f"{out.stem}_figures")
    folder.mkdir(parents=True, exist_ok=True)
    written = [out]
    for name, (_, data) in pictures.items():
        (folder / f"{name}.png").write_bytes(data)
        written.append(folder / f"{name}.png")
    fresh = out.with_name(f"{out.name}.new")
    fresh.write_text(page(runs, pictures), encoding="utf-8")
    fresh.replace(out)
    return written


def page(runs: Sequence[RunData], pictures: dict[str, tuple[str, bytes]]) -> str:
    """The HTML."""
    one = runs[0] if len(runs) == 1 else None
    title = one.name if one else f"{len(runs)} runs"
    body = [f"<h1>{escape(title)}</h1>", f'<p class="note">{escape(_what(runs))}</p>']
    if one:
        body += ["<h2>In short</h2>", _tiles(one)]
    body += ["<h2>Figures with 95 % intervals</h2>", html_table(*comparison(runs)), _NOTE]
    ablated = ablations(runs)
    if ablated:
        body += ["<h2>Ablations</h2>", html_table(*ablated), _ABLATION_NOTE]
    body.append("<h2>Plots</h2>")
    for name, (caption, data) in pictures.items():
        source = base64.b64encode(data).decode()
        body.append(
            f'<figure id="{name}"><img alt="{name}" src="data:image/png;base64,{source}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    body.append("<h2>How to have it again</h2>")
    for run in runs:
        body.append(f"<h3>{escape(run.name)}</h3>" if len(runs) > 1 else "")
        body.append(html_table((), run.facts))
        if run.damaged:
            body.append(f"<p><b>{run.damaged} bytes of the journal could not be read.</b></p>")
        settings = escape(json.dumps(run.settings, indent=2))
        body.append(f"<details><summary>all settings</summary><pre>{settings}</pre></details>")
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    body.append(f'<p class="note">Made by rlt_ros {__version__} on {now}.</p>')
    return html_page(title, "".join(body))


def html_page(title: str, body: str) -> str:
    """A page with everything in it."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


_NOTE = (
    '<p class="note">Of the robot alone: an episode in which a human helped is no success; episodes that a human flew '
    "for most of the time are left out of the base's figures. Throughput: successes per 10 minutes of episode time, "
    "interval by bootstrap over episodes; success: Wilson's interval. Live figures are of the last 50 episodes of the "
    "actor, exploration included; trained runs show their last evaluation.</p>"
)
_ABLATION_NOTE = (
    '<p class="note">The last evaluation of each run, pooled over seeds; intervals over seeds and episodes '
    "(bootstrap); success by Wilson.</p>"
)


def _what(runs: Sequence[RunData]) -> str:
    kinds = {"flown live" if run.live else "trained without ROS" for run in runs}
    return f"Task {', '.join(sorted({run.task for run in runs}))}; {' and '.join(sorted(kinds))}."


def _tiles(run: RunData) -> str:
    counted = [record for record in run.records if record.outcome is not Outcome.ABORT]
    wins = sum(record.outcome is Outcome.SUCCESS for record in counted)
    ticks, human = (sum(getattr(record, name) for record in counted) for name in ("ticks", "human_ticks"))
    updates = run.curve[-1].get("updates") if run.curve else None
    tiles: list[tuple[Any, str]] = [
        (len(counted), "episodes"),
        (f"{wins / len(counted):.0%}" if counted else "-", "successes, with the human's help"),
        (f"{human / ticks:.0%}" if ticks else "-", "flown by the human"),
        (sum(record.interventions for record in counted), "interventions"),
        (f"{run.episodes[-1].minutes:.0f} min" if run.episodes else "-", "of robot time"),
    ]
    if updates:
        tiles.append((updates, "updates"))
    if run.period_errors.size:
        tiles.append((f"{np.percentile(run.period_errors, 99):.2f} ms", "p99 of the loop's period error"))
    shown = "".join(f'<div class="tile"><b>{escape(str(value))}</b><span>{name}</span></div>' for value, name in tiles)
    return f'<div class="tiles">{shown}</div>'


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; an empty head is left out."""
    top = f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>" if head else ""
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{top}{lines}</table>"
