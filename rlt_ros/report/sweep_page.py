"""The HTML file of a sweep, and its tables as Markdown for docs/results.md."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from rlt_ros import __version__
from rlt_ros.config import ConfigError
from rlt_ros.report.figures import png
from rlt_ros.report.page import html_page, html_table
from rlt_ros.report.sweep import SweepData, markdown, of_task, over_tasks
from rlt_ros.report.sweep_figures import figures
from rlt_ros.report.tables import Table

_NOTE = (
    "Evaluations of the actors alone, without exploration, on the same seeded starts for all. Throughput: successes "
    "per 10 minutes of flown time, a failure counts as the whole time limit; its mean over seeds, with bootstrap "
    "percentiles over seeds and episodes; success with Wilson's interval. Human: share of the training's ticks. "
    "Decides every: the time in which a policy can react, which is a part of what is compared where it differs."
)
_OVER_TASKS = (
    "By rliable's recipe (Agarwal et al., 2021): the mean of the middle half of all runs (IQM), and the probability "
    "that a run of ours beats one of theirs on a task drawn by chance, each with 95 % percentiles of a bootstrap that "
    "draws seeds within each task. At {due:g} minutes, the last evaluation that all have."
)


def write_sweep(sweep: SweepData, out: Path) -> list[Path]:
    """Write the page, its tables as `<name>.md` beside it, and every figure in `<name>_figures/`.

    Args:
        sweep: to be shown.
        out: the HTML file.

    Returns:
        All files that were written, the page first and the tables second.

    Raises:
        OSError: they cannot be written.
    """
    folder = out.with_name(f"{out.stem}_figures")
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {name: (caption, png(figure)) for name, (caption, figure) in figures(sweep).items()}
    tables = sections(sweep)
    written = [out, out.with_suffix(".md")]
    for name, (_, data) in pictures.items():
        (folder / f"{name}.png").write_bytes(data)
        written.append(folder / f"{name}.png")
    text = [f"### {title}\n\n{markdown(table)}\n{note}\n" for title, table, note in tables]
    written[1].write_text("\n".join(text), encoding="utf-8")
    fresh = out.with_name(f"{out.name}.new")
    fresh.write_text(_page(sweep, tables, pictures), encoding="utf-8")
    fresh.replace(out)
    return written


def sections(sweep: SweepData) -> list[tuple[str, Table, str]]:
    """Title, table and note: all tasks, then each task, then where it comes from."""
    out: list[tuple[str, Table, str]] = []
    try:
        all_tasks = over_tasks(sweep)
    except ConfigError:  # no common time: an unfinished sweep, or methods of different length
        all_tasks = None
    if all_tasks is not None:
        out.append(("All tasks", all_tasks, _OVER_TASKS.format(due=sweep.due)))
    out += [(task, of_task(sweep, task), _NOTE if number == 0 else "") for number, task in enumerate(sweep.tasks)]
    return [*out, ("Where it comes from", _origin(sweep), "")]


def _origin(sweep: SweepData) -> Table:
    """Commits, machines, bundles and dates: more than one of a kind is worth a look."""
    records = [*sweep.base.values(), *(record for arm in sweep.arms for record in arm.records)]
    rows = []
    for key in ("commit", "version", "python", "machine", "bundle_id"):
        found = sorted({str(record["facts"][key]) for record in records if key in record["facts"]})
        rows.append((key, ", ".join(found) or "-"))
    dates = sorted(record["facts"]["started"] for record in records if "started" in record["facts"])
    return ("", ""), [*rows, ("started", f"{dates[0]} to {dates[-1]}" if dates else "-"), ("runs", str(len(records)))]


def _page(sweep: SweepData, tables: list[tuple[str, Table, str]], pictures: dict[str, tuple[str, bytes]]) -> str:
    body = [f"<h1>Sweep {escape(sweep.name)}</h1>"]
    for title, table, note in tables:
        body += [f"<h2>{escape(title)}</h2>", html_table(*table), f'<p class="note">{escape(note)}</p>']
    body.append("<h2>Plots</h2>")
    for name, (caption, data) in pictures.items():
        source = base64.b64encode(data).decode()
        body.append(
            f'<figure id="{name}"><img alt="{name}" src="data:image/png;base64,{source}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    body.append("<h2>How to have it again</h2>")
    for record in (record for arm in sweep.arms for record in arm.records):
        settings: dict[str, Any] = {key: record[key] for key in ("train", "learner")}
        command = escape(" ".join(record["facts"].get("command", [])))
        body.append(
            f"<details><summary>{command}</summary><pre>{escape(json.dumps(settings, indent=2))}</pre></details>"
        )
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    body.append(f'<p class="note">Made by rlt_ros {__version__} on {now}.</p>')
    return html_page(f"Sweep {sweep.name}", "".join(body))
