"""A joystick that exists only inside this process, by SDL's own virtual devices."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
import sdl2


class VirtualPad:
    """Press it, push its sticks, unplug it."""

    def __init__(self, kind: int = sdl2.SDL_JOYSTICK_TYPE_GAMECONTROLLER, axes: int = 6, buttons: int = 21) -> None:
        """Plug it in; a `Joystick` must have started SDL."""
        sdl2.SDL_Init(sdl2.SDL_INIT_JOYSTICK | sdl2.SDL_INIT_GAMECONTROLLER)
        self._kind, self._axes, self._buttons = kind, axes, buttons
        self._index = -1
        self._handle: Any = None
        self.plug()

    def plug(self) -> None:
        """Connect."""
        self._index = sdl2.SDL_JoystickAttachVirtual(self._kind, self._axes, self._buttons, 0)
        assert self._index >= 0, sdl2.SDL_GetError()
        self._handle = sdl2.SDL_JoystickOpen(self._index)

    def unplug(self) -> None:
        """Pull the cable."""
        if self._index >= 0:
            sdl2.SDL_JoystickDetachVirtual(self._index)
            sdl2.SDL_JoystickClose(self._handle)
        self._index = -1

    def press(self, button: int, down: bool = True) -> None:
        """Press or release."""
        sdl2.SDL_JoystickSetVirtualButton(self._handle, button, int(down))
        sdl2.SDL_JoystickUpdate()

    def push(self, axis: int, value: float) -> None:
        """SDL's sign: right and down positive."""
        sdl2.SDL_JoystickSetVirtualAxis(self._handle, axis, round(value * 32767))
        sdl2.SDL_JoystickUpdate()
