"""The commands that README and getting_started.md show, and how each is run by a test."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Documented:
    """How a command is tried.

    Attributes:
        pattern: regular expression of the command as it is written.
        run: what is run: shortened, with RUN, OUT, DATASET, BUNDLE and FILE put in.
        until: a word of its output: a second after that it still runs and gets Ctrl-C; empty: it ends by itself.
        code: that it ends with.
    """

    pattern: str
    run: str
    until: str = ""
    code: int = 0


COMMANDS = (
    Documented(r"make demo( DURATION=\d+)?", "make demo DURATION=3"),
    Documented(r"make test", ""),  # runs itself
    Documented(r"\./rlt exec COMMAND", "./rlt exec python -c pass"),
    Documented(r"\./rlt doctor", "./rlt doctor"),
    # -- makes RUN, which the others look at
    Documented(
        r"\./rlt up sim --human simulated --headless --duration 600",
        "./rlt up sim --human simulated --headless --duration 20 --runs RUNS --set learner_node.warmup_samples=50 "
        "--set session_node.warmup_episodes=2 --set sim_node.demonstrations=1 --set recorder_node.reserve=0",
    ),
    Documented(r"\./rlt runs", "./rlt runs RUNS"),
    Documented(r"\./rlt report RUN", "./rlt report RUN"),
    Documented(r"\./rlt eval --run RUN( --episodes 20)?", "./rlt eval --run RUN --episodes 2 --no-variants"),
    Documented(
        r"\./rlt up sim --resume RUN( --headless --duration 300)?",
        "./rlt up sim --resume RUN --headless --duration 3",
    ),
    Documented(r"\./rlt replay RUN", "./rlt replay RUN --rate 50"),
    Documented(r"\./rlt export RUN OUT", "./rlt export RUN OUT"),
    # -- others
    Documented(r"\./rlt up sim( --human simulated)?", "./rlt up sim --human simulated --runs RUNS", "first episode"),
    Documented(
        r"\./rlt up sim --headless --duration 60 --set session_node\.time_limit=8 --set learner_node\.update_ratio=1",
        "./rlt up sim --headless --duration 1 --set session_node.time_limit=8 --set learner_node.update_ratio=1 "
        "--runs RUNS",
    ),
    Documented(r"\./rlt up sim --config my\.yaml", "./rlt up sim --config FILE --headless --duration 1 --runs RUNS"),
    Documented(
        r"\./rlt up robot --robot my_robot\.yaml --bundle BUNDLE",
        "./rlt up robot --robot ROBOT --runs RUNS",
        "flying bundle",
    ),
    Documented(r"\./rlt up learner --namespace /fleet", "./rlt up learner --namespace /fleet --duration 2 --runs RUNS"),
    Documented(r"\./rlt demo --trained", "./rlt demo --trained --duration 3"),
    Documented(r"\./rlt eval --base --task ethernet", "./rlt eval --base --task ethernet --episodes 2 --no-variants"),
    Documented(
        r"\./rlt eval --trained --task ethernet", "./rlt eval --trained --task ethernet --episodes 2 --no-variants"
    ),
    Documented(
        r"\./rlt train --task (ethernet|charger) --minutes (15|30)",
        "./rlt train --task charger --minutes 0.3 --set evaluate_episodes=2 --set demonstrations=1 --runs TRAINED",
    ),
    Documented(
        r"\./rlt train --task ethernet --minutes 10 --seed 1 --without anchor",
        "./rlt train --task ethernet --minutes 0.3 --seed 1 --without anchor --set evaluate_episodes=2 "
        "--set demonstrations=1 --runs TRAINED",
    ),
    Documented(
        r"\./rlt collect --task ethernet --out DATASET", "./rlt collect --task ethernet --out DATASET --episodes 3"
    ),
    Documented(
        r"\./rlt adapt --out BUNDLE",
        "./rlt adapt --out BUNDLE --data DATASET --eyes 4 --steps 4 --token-steps 2",
    ),
    Documented(r"\./rlt adapt phase --data DATASET", "./rlt adapt phase --bundle BUNDLE --full-episodes 3"),
    Documented(r"\./rlt serve --bundle BUNDLE", "./rlt serve --bundle BUNDLE --port 0", "serving "),
    Documented(r"\./rlt bench loop( --seconds 60)?", "./rlt bench loop --seconds 2"),
    Documented(r"\./rlt bench takeover", "./rlt bench takeover --takeovers 2"),
    Documented(r"\./rlt bench stop", "./rlt bench stop --stops 1"),
    Documented(r"\./rlt bench learner", "./rlt bench learner --seconds 1"),
    Documented(r"\./rlt bench memory", "./rlt bench memory --seconds 25"),
    Documented(r"\./rlt bench console", "./rlt bench console --seconds 2"),
)


def commands_in(page: Path) -> list[str]:
    """Every `make` and `./rlt` command of a page, in blocks and within lines."""
    text = page.read_text()
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    spans = re.findall(r"`((?:\./rlt|make) [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = [re.sub(r"\s+#.*$", "", line).strip() for line in [*lines, *spans]]
    return [command for command in found if command]


def covering(command: str) -> Documented | None:
    """Whose test runs a command."""
    return next((known for known in COMMANDS if re.fullmatch(known.pattern, command)), None)
