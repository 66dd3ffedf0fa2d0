"""A joystick or game pad by SDL 2: lost and found again, every edge of a button kept, in order."""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # it tells where its library came from
    import sdl2

_FULL = 32767.0
_PAD_AXES = 6
_PAD_BUTTONS = 21
LAYOUTS = ("auto", "gamepad", "raw")


@dataclass(frozen=True)
class JoyState:
    """What is held at one moment.

    Attributes:
        axes: -1 to 1, left and up positive; for a pad: left stick x, y, right stick x, y, left and right trigger (0,
            pulled -1), as joy's `game_controller_node` has them; raw: the driver's axes, then two for each hat.
        buttons: 0 or 1; for a pad in the order of SDL's game controller buttons.
    """

    axes: tuple[float, ...]
    buttons: tuple[int, ...]


def devices() -> list[str]:
    """Names of what is connected, in the order of their indices.

    Raises:
        RuntimeError: SDL does not start.
    """
    _start()
    sdl2.SDL_JoystickUpdate()
    return [_name(index) for index in range(sdl2.SDL_NumJoysticks())]


class Joystick:
    """The first device that fits, as soon as there is one; use it in one thread."""

    def __init__(self, name: str = "", *, layout: str = "auto", deadzone: float = 0.05) -> None:
        """Look for a device.

        Args:
            name: part of its name, in any case; empty: the first one.
            layout: `gamepad` or `raw`, see `JoyState`; `auto`: gamepad wherever SDL knows the pad.
            deadzone: share of an axis' way that counts as rest; what is left still reaches 1.

        Raises:
            ValueError: the layout is unknown, or the dead zone is not in [0, 1).
            RuntimeError: SDL does not start.
        """
        if layout not in LAYOUTS:
            raise ValueError(f"layout '{layout}' is unknown: choose {', '.join(LAYOUTS)}")
        if not 0 <= deadzone < 1:
            raise ValueError(f"deadzone is {deadzone}, it must be within [0, 1)")
        self._wanted = name.lower()
        self._layout = layout
        self._deadzone = deadzone
        self._pad: object | None = None
        self._stick: object | None = None
        self.name = ""
        """Of the device that is open; empty without one."""
        self.layout = ""
        """`gamepad` or `raw`, of the device that is open."""
        _start()

    def poll(self) -> Iterator[JoyState]:
        """States since the last call, oldest first: one for each press or release, one for any motion of axes."""
        sdl2.SDL_JoystickUpdate()
        moved = False
        for event in self._events():
            if event.type in (sdl2.SDL_JOYBUTTONDOWN, sdl2.SDL_JOYBUTTONUP) and event.jbutton.which == self._instance:
                if self.layout == "raw":
                    self._buttons[event.jbutton.button] = int(event.jbutton.state)
                    yield self.state()
            elif event.type in (sdl2.SDL_CONTROLLERBUTTONDOWN, sdl2.SDL_CONTROLLERBUTTONUP):
                if self.layout == "gamepad" and event.cbutton.which == self._instance:
                    self._buttons[event.cbutton.button] = int(event.cbutton.state)
                    yield self.state()
            elif event.type in (sdl2.SDL_JOYAXISMOTION, sdl2.SDL_JOYHATMOTION):
                moved |= event.jaxis.which == self._instance
        if self._stick is None:
            self._open()
        elif moved:
            yield self.state()

    def _events(self) -> list[sdl2.SDL_Event]:
        """What happened to the open device; nothing if it went away.

        SDL lets go of every button of a device that was pulled out: nobody released the dead-man's switch.
        """
        out: list[sdl2.SDL_Event] = []
        event = sdl2.SDL_Event()
        while sdl2.SDL_PollEvent(ctypes.byref(event)):
            if event.type == sdl2.SDL_JOYDEVICEREMOVED and self._stick is not None:
                if event.jdevice.which == self._instance:
                    self.close()
                    out = []
            elif self._stick is not None:
                out.append(event)
                event = sdl2.SDL_Event()
        return out

    def state(self) -> JoyState:
        """What is held now.

        Raises:
            RuntimeError: no device is open.
        """
        if self._stick is None:
            raise RuntimeError("no joystick is open")
        if self.layout == "gamepad":
            raw = [sdl2.SDL_GameControllerGetAxis(self._pad, axis) for axis in range(_PAD_AXES)]
            return JoyState(tuple(map(self._scaled, raw)), tuple(self._buttons))
        raw = [sdl2.SDL_JoystickGetAxis(self._stick, axis) for axis in range(sdl2.SDL_JoystickNumAxes(self._stick))]
        axes = [self._scaled(value) for value in raw]
        for hat in range(sdl2.SDL_JoystickNumHats(self._stick)):
            held = sdl2.SDL_JoystickGetHat(self._stick, hat)
            axes.append(float(bool(held & sdl2.SDL_HAT_LEFT)) - float(bool(held & sdl2.SDL_HAT_RIGHT)))
            axes.append(float(bool(held & sdl2.SDL_HAT_UP)) - float(bool(held & sdl2.SDL_HAT_DOWN)))
        return JoyState(tuple(axes), tuple(self._buttons))

    def close(self) -> None:
        """Let go of the device; `poll` looks for one again."""
        if self._pad is not None:
            sdl2.SDL_GameControllerClose(self._pad)
        elif self._stick is not None:
            sdl2.SDL_JoystickClose(self._stick)
        self._pad = self._stick = None
        self.name = self.layout = ""

    def _open(self) -> None:
        for index in range(sdl2.SDL_NumJoysticks()):
            name = _name(index)
            if self._wanted not in name.lower():
                continue
            known = bool(sdl2.SDL_IsGameController(index))
            if self._layout == "gamepad" and not known:
                continue
            if known and self._layout != "raw":
                pad = sdl2.SDL_GameControllerOpen(index)
                if not pad:
                    continue
                self._pad, self._stick = pad, sdl2.SDL_GameControllerGetJoystick(pad)
                self.layout, self._buttons = (
                    "gamepad",
                    [int(sdl2.SDL_GameControllerGetButton(pad, button)) for button in range(_PAD_BUTTONS)],
                )
            else:
                stick = sdl2.SDL_JoystickOpen(index)
                if not stick:
                    continue
                self._stick = stick
                self.layout, self._buttons = (
                    "raw",
                    [
                        int(sdl2.SDL_JoystickGetButton(stick, button))
                        for button in range(sdl2.SDL_JoystickNumButtons(stick))
                    ],
                )
            self._instance = sdl2.SDL_JoystickInstanceID(self._stick)
            self.name = name
            return

    def _scaled(self, raw: int) -> float:
        """-1 to 1, left and up positive, without the dead zone."""
        value = max(-1.0, raw / _FULL)
        size = max(0.0, abs(value) - self._deadzone) / (1 - self._deadzone)
        return -size if value > 0 else size


def _start() -> None:
    # A node has no window, and another one may have the focus.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    sdl2.SDL_SetHint(sdl2.SDL_HINT_JOYSTICK_ALLOW_BACKGROUND_EVENTS, b"1")
    sdl2.SDL_SetHint(sdl2.SDL_HINT_NO_SIGNAL_HANDLERS, b"1")
    if sdl2.SDL_Init(sdl2.SDL_INIT_JOYSTICK | sdl2.SDL_INIT_GAMECONTROLLER):
        raise RuntimeError(f"SDL does not start: {sdl2.SDL_GetError().decode(errors='replace')}")


def _name(index: int) -> str:
    name = sdl2.SDL_JoystickNameForIndex(index)
    return name.decode(errors="replace") if name else f"joystick {index}"
