"""The `rlt` command."""

from __future__ import annotations

import os
import sys

import typer

from rlt_ros import __version__, endings
from rlt_ros.cli import adapt
from rlt_ros.cli.bench import bench
from rlt_ros.cli.checks import doctor
from rlt_ros.cli.collect import collect
from rlt_ros.cli.evaluation import evaluate
from rlt_ros.cli.graph import demo, up
from rlt_ros.cli.init import init
from rlt_ros.cli.journal import export, replay, runs
from rlt_ros.cli.report import report
from rlt_ros.cli.serve import serve
from rlt_ros.cli.sweep import sweep
from rlt_ros.cli.training import train
from rlt_ros.config import ConfigError
from rlt_ros.share import share_directory

app = typer.Typer(
    help="Real-time robot control with a frozen VLA and reinforcement learning on the robot (RL Token), on ROS 2.\n\n"
    "Begin with 'rlt demo', and open http://127.0.0.1:8700 while it runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_RUN, _LOOK, _LEARN, _CHECK = "Run the graph", "Look at what came of it", "Learn without the graph", "This machine"
for command in (demo, up, serve):
    app.command(rich_help_panel=_RUN)(command)
for command in (runs, report, replay, export):
    app.command(rich_help_panel=_LOOK)(command)
for command in (train, sweep, collect):
    app.command(rich_help_panel=_LEARN)(command)
app.add_typer(adapt.app, name="adapt", rich_help_panel=_LEARN)
app.command("eval", rich_help_panel=_LEARN)(evaluate)
app.command(rich_help_panel=_CHECK)(doctor)
app.command(rich_help_panel=_CHECK)(init)
# The benchmark's own options are its own parser's business.
_FOREIGN = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
app.command(context_settings=_FOREIGN, rich_help_panel=_CHECK)(bench)


@app.command(rich_help_panel=_CHECK)
def version() -> None:
    """Print version and where the package's files are."""
    print(f"rlt_ros {__version__} from {share_directory()}")


def main() -> None:
    """Entry point: expected errors become one line and exit code 2; however it is ended, it ends as by Ctrl-C."""
    endings.interrupt()
    try:
        app(prog_name="rlt")
    except ImportError as error:
        print(f"error: {error}; run 'make setup', or source ROS 2 and the workspace of rlt_ros", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `rlt runs | head`: who reads has seen enough
        sys.exit(0)
    except (ConfigError, ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
