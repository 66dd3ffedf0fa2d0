"""What sticks and buttons mean, and what is said about a file that is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from rlt_ros.share import share_directory
from rlt_ros.teleop.mapping import EXPLANATIONS, Function, MappingError, find_mapping, load_mapping

SHIPPED = share_directory() / "config" / "joystick"
GOOD = {"name": "x", "layout": "raw", "motions": {"x": {"axis": 0}}, "buttons": {"takeover": 0}}


def written(tmp_path: Path, data: object) -> Path:
    path = tmp_path / "pad.yaml"
    path.write_text(yaml.safe_dump(data) if not isinstance(data, str) else data)
    return path


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_mappings_are_valid_and_named_as_their_file(path: Path) -> None:
    mapping = load_mapping(path)
    assert mapping.name == path.stem
    assert Function.TAKEOVER in mapping.buttons.values()
    assert set(mapping.labels) <= {*mapping.buttons, *(source.held for source in mapping.motions.values())}


def test_every_function_is_explained() -> None:
    assert set(EXPLANATIONS) == set(Function)


@pytest.mark.parametrize(
    ("device", "layout", "name"),
    [
        ("Microsoft X-Box 360 pad", "gamepad", "xbox"),
        ("Sony Interactive Entertainment Wireless Controller", "gamepad", "dualshock"),
        ("Logitech Gamepad F310", "gamepad", "f310"),
        ("3Dconnexion SpaceMouse Compact", "raw", "spacemouse"),
        ("No-name pad", "gamepad", "gamepad"),
        ("No-name stick", "raw", None),
    ],
)
def test_the_mapping_is_found_by_the_devices_name(device: str, layout: str, name: str | None) -> None:
    found = find_mapping(SHIPPED, device, layout)
    assert (found.name if found else None) == name


def test_a_pad_moves_the_chosen_arm() -> None:
    mapping = load_mapping(SHIPPED / "xbox.yaml")
    axes, buttons = [0.0] * 6, [0] * 21
    axes[1], axes[4] = 0.5, -1.0
    moved = mapping.motion(axes, buttons, 1, 2)
    assert np.array_equal(moved[0], np.zeros(7))
    assert np.allclose(moved[1], [0.5, 0, 0, 0, 0, 0, 1.0])
    assert not mapping.motion(axes, buttons, 0, 2)[1].any()


def test_a_held_button_lends_the_stick_to_another_motion() -> None:
    mapping = load_mapping(SHIPPED / "xbox.yaml")
    axes, buttons = [0.25, 0.5, 0, 0, 0, 0], [0] * 21
    buttons[9] = 1
    assert np.allclose(mapping.motion(axes, buttons, 0, 2)[0], [0, 0, 0, -0.25, 0.5, 0, 0])


def test_both_arms_may_have_their_own_axes() -> None:
    mapping = load_mapping(SHIPPED / "simulated.yaml")
    axes = [i / 20 for i in range(14)]
    assert np.allclose(mapping.motion(axes, [0] * 4, 0, 2).ravel(), axes)


def test_a_trigger_that_rests_at_one_end_gives_0_to_1(tmp_path: Path) -> None:
    data = {**GOOD, "motions": {"open": {"axis": 2, "rest": 1.0, "full": -1.0}, "close": {"button": 3}}}
    mapping = load_mapping(written(tmp_path, data))
    for reading, wanted in ((1.0, 0.0), (0.0, 0.5), (-1.0, 1.0)):
        assert mapping.motion([0, 0, reading], [0] * 4, 0, 2)[0, 6] == pytest.approx(wanted)
    assert mapping.motion([0, 0, 1.0], [0, 0, 0, 1], 0, 2)[0, 6] == -1.0


def test_short_and_absurd_messages_do_not_fit() -> None:
    mapping = load_mapping(SHIPPED / "xbox.yaml")
    assert mapping.fits([0.0] * 6, [0] * 21)
    assert not mapping.fits([0.0] * 5, [0] * 21)
    assert not mapping.fits([0.0] * 6, [0] * 10)
    assert not mapping.fits([0.0] * 5 + [float("nan")], [0] * 21)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"motion": {}}, "unknown key motion; known are"),
        ({"layout": "pad"}, "layout 'pad' is unknown"),
        ({"motions": {"sideways": {"axis": 0}}}, "unknown motion sideways"),
        ({"motions": {}}, "nothing could be moved"),
        ({"motions": {"x": {"axis": -1}}}, "must be the index"),
        ({"motions": {"x": {"axis": 0, "button": 1}}}, "either 'axis' or 'button'"),
        ({"motions": {"x": {"axis": 0, "speed": 1}}}, "unknown key in motions.x speed"),
        ({"motions": {"x": {"axis": 0, "scale": "fast"}}}, "must be a number"),
        ({"motions": {"x": {"axis": 0, "rest": 1, "full": 1}}}, "must differ"),
        ({"motions": {"x": {"axis": 0, "held": 0}}}, "uses the button of 'takeover'"),
        ({"buttons": {"success": 1}}, "no button has the function 'takeover'"),
        ({"buttons": {"takeover": 0, "dance": 1}}, "unknown function dance"),
        ({"buttons": {"takeover": 0, "success": 0}}, "button 0 has two functions"),
        ({"buttons": None}, "'buttons' must be a mapping"),
        ({"devices": "Xbox"}, "must be a list"),
    ],
)
def test_a_wrong_file_gets_one_clear_message(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(MappingError, match=message) as caught:
        load_mapping(written(tmp_path, {**GOOD, **change}))
    assert "pad.yaml" in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [("[", "not valid YAML"), ("- a", "holds a list"), ("{}", "missing")])
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MappingError, match=message):
        load_mapping(written(tmp_path, text))
    with pytest.raises(MappingError, match="cannot read"):
        load_mapping(tmp_path / "absent.yaml")
