"""Ways to end beside Ctrl-C: SIGTERM, a closed terminal, and signals that come while Python starts or shuts down."""

from __future__ import annotations

import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_asked = False


def listen() -> None:
    """From now on a signal is a wish that `asked` tells of; `nohup` stays what it is."""
    for number in SIGNALS:
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _ask)


def asked() -> bool:
    """Whether somebody wants this process to end."""
    return _asked


def ask() -> None:
    """End, without a signal."""
    global _asked
    _asked = True


def interrupt() -> None:
    """From now on every one of them is a Ctrl-C, for programs that end by KeyboardInterrupt."""
    for number in SIGNALS:
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def within(seconds: float) -> None:
    """What is left to be done may take so long, then the kernel ends the process: a library may hang in its own end."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def deaf() -> None:
    """The end has begun: no signal changes the exit code any more, not even while the interpreter shuts down."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _ask(_signal: int, _frame: FrameType | None) -> None:
    ask()
