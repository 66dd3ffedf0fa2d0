"""Take docs/images/console.png and report.png: of a console that runs, and of a report.

Usage: screenshots.py --console http://127.0.0.1:8700 --report RUN/report.html   (needs Chromium)
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

OUT = Path(__file__).parents[1] / "docs" / "images"
_PICTURES_AFTER = 6000


def main() -> None:
    """Take what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--console", help="address of the page")
    parser.add_argument("--report", type=Path, help="HTML file")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        shown = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        if arguments.console:
            page = shown.new_page(viewport={"width": 1440, "height": 960})
            page.goto(arguments.console)
            page.wait_for_selector("[data-frames='3']")
            page.wait_for_timeout(_PICTURES_AFTER)
            page.screenshot(path=arguments.out / "console.png")
        if arguments.report:
            page = shown.new_page(viewport={"width": 1100, "height": 1250})
            page.goto(arguments.report.resolve().as_uri())
            page.screenshot(path=arguments.out / "report.png")
        shown.close()


if __name__ == "__main__":
    main()
