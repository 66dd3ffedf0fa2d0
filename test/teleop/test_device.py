"""Devices by SDL, played by its virtual joysticks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sdl2
from virtual_pad import VirtualPad

from rlt_ros.teleop.device import Joystick, devices


@pytest.fixture
def pad() -> Iterator[VirtualPad]:
    made = VirtualPad()
    yield made
    made.unplug()
    list(Joystick().poll())


def opened(**options: object) -> Joystick:
    joystick = Joystick(**options)
    list(joystick.poll())
    assert joystick.name
    return joystick


def test_a_pad_has_the_layout_of_game_controllers(pad: VirtualPad) -> None:
    joystick = opened()
    assert joystick.layout == "gamepad"
    assert any("Virtual" in name for name in devices())
    pad.push(0, -1.0)
    pad.push(1, 0.5)
    pad.press(10)
    states = list(joystick.poll())
    assert (len(states[-1].axes), len(states[-1].buttons)) == (6, 21)
    assert states[-1].axes[0] == pytest.approx(1.0), "left is positive"
    assert states[-1].axes[1] == pytest.approx(-(0.5 - 0.05) / 0.95, abs=1e-3), "up is positive, without the dead zone"
    assert states[-1].buttons[10] == 1
    joystick.close()


def test_small_motions_are_rest(pad: VirtualPad) -> None:
    joystick = opened()
    pad.push(2, 0.04)
    assert joystick.state().axes[2] == 0.0
    joystick.close()


def test_press_release_press_between_two_looks_loses_no_edge(pad: VirtualPad) -> None:
    joystick = opened()
    for down in (True, False, True):
        pad.press(0, down)
    assert [state.buttons[0] for state in joystick.poll()] == [1, 0, 1]
    joystick.close()


def test_two_buttons_keep_their_order(pad: VirtualPad) -> None:
    joystick = opened()
    pad.press(3)
    pad.press(1)
    pad.press(3, False)
    assert [(state.buttons[1], state.buttons[3]) for state in joystick.poll()] == [(0, 1), (1, 1), (1, 0)]
    joystick.close()


def test_an_unplugged_device_is_lost_and_found_again(pad: VirtualPad) -> None:
    joystick = opened()
    pad.press(10)
    list(joystick.poll())
    pad.unplug()
    assert list(joystick.poll()) == [], "nobody has let go of the button"
    assert joystick.name == ""
    with pytest.raises(RuntimeError, match="no joystick"):
        joystick.state()
    pad.plug()
    list(joystick.poll())
    list(joystick.poll())
    assert joystick.name
    pad.press(4)
    assert [state.buttons[4] for state in joystick.poll()] == [1]
    joystick.close()


def test_other_devices_are_numbered_as_the_driver_does() -> None:
    mouse = VirtualPad(sdl2.SDL_JOYSTICK_TYPE_UNKNOWN, axes=6, buttons=2)
    try:
        joystick = opened()
        assert joystick.layout == "raw"
        mouse.press(1)
        mouse.push(5, 1.0)
        state = list(joystick.poll())[-1]
        assert (len(state.axes), state.buttons) == (6, (0, 1))
        assert state.axes[5] == pytest.approx(-1.0)
        joystick.close()
    finally:
        mouse.unplug()


def test_only_the_named_device_is_opened(pad: VirtualPad) -> None:
    joystick = Joystick("SpaceMouse")
    list(joystick.poll())
    assert joystick.name == ""


@pytest.mark.parametrize("options", [{"layout": "odd"}, {"deadzone": 1.0}])
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be|choose"):
        Joystick(**options)
