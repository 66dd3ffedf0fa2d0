"""Write the tables of docs/troubleshooting.md: every reason to hold, and everything that is refused, from the code.

Usage: refusals_page.py [FILE]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from rlt_ros.refusals import HOLDS, REFUSALS, STOPPED

PAGE = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
_MARKS = ("<!-- generated: scripts/refusals_page.py -->", "<!-- end of generated -->")


def tables() -> str:
    """Markdown of both tables."""
    lines = [
        "### Reasons to hold",
        "",
        "`reason` in `step`, `executor_status` and on the page.",
        "",
        "| reason | what is the case | what to do |",
        "|---|---|---|",
        *(f"| `{name}` | {hold.means} | {hold.remedy or 'nothing is wrong'} |" for name, hold in HOLDS.items()),
        f"| of ESTOP | {STOPPED.means} | {STOPPED.remedy} |",
        "",
        "### Refusals",
        "",
        "Each is counted, logged at most every five seconds, told on `/diagnostics` (`<node>: refused`), and shown on "
        "the page under *Why it does not fly*.",
        "",
        "| counter | topic | what is wrong | what to do |",
        "|---|---|---|---|",
        *(f"| `{name}` | `{row.topic}` | {row.reason} | {row.remedy} |" for name, row in REFUSALS.items()),
    ]
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """A page with its tables as the code has them.

    Raises:
        ValueError: the page does not say where they belong.
    """
    begin, end = _MARKS
    if begin not in text or end not in text:
        raise ValueError(f"the page lacks the lines '{begin}' and '{end}'")
    place = f"{re.escape(begin)}.*{re.escape(end)}"
    return re.sub(place, lambda _: f"{begin}\n\n{tables()}\n\n{end}", text, flags=re.S)


def main() -> None:
    """Rewrite the page."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    path.write_text(with_tables(path.read_text()))


if __name__ == "__main__":
    main()
