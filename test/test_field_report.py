"""Rows of the field report that are about files, shells and endings: W6, W12, W15, U1, U2, U4, U5, S5."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from support import JOINTS, limits

from rlt_ros.bringup.graph import CELL, Bringup
from rlt_ros.bringup.runs import new_run_dir
from rlt_ros.bringup.up import tell_summary
from rlt_ros.cameras.camera import CameraConfig, CameraError
from rlt_ros.cameras.recorded import RecordedCamera
from rlt_ros.config import ConfigError
from rlt_ros.control.limits import JointLimits
from rlt_ros.journal.segment import Record, SegmentWriter
from rlt_ros.missing import remedy
from rlt_ros.vla.bundle import BundleError, external_data, file_sha256, load_bundle

onnx = pytest.importorskip("onnx")


# -- S5: a bundle flies only the robot that it names -----------------------------------------------------------


def robot_file(tmp_path: Path, robot: str | None) -> Path:
    path = tmp_path / "my.yaml"
    given = {} if robot is None else {"robot": robot}
    path.write_text(yaml.safe_dump({"/**/executor_node": {"ros__parameters": {"period": 0.02, **given}}}))
    return path


def test_S5_the_cells_bundle_flies_no_real_robot(tmp_path: Path) -> None:
    bringup = Bringup(target="robot", config=robot_file(tmp_path, "kitchen_arm"))
    with pytest.raises(ConfigError, match="does not name the robot"):
        Bringup(target="robot", config=robot_file(tmp_path, None)).check_robot()
    with pytest.raises(BundleError, match="flies robot 'sim_aloha', this one is 'kitchen_arm'"):
        Bringup(target="robot", config=robot_file(tmp_path, "kitchen_arm")).check_robot()
    assert bringup.bundle_path.name == "small_aloha"
    Bringup(target="robot", config=robot_file(tmp_path, "sim_aloha")).check_robot()
    Bringup(target="sim").check_robot()
    specs = {spec.name: spec for spec in Bringup(target="sim").nodes()}
    assert specs["executor_node"].parameters["robot"] == specs["vla_node"].parameters["robot"] == "sim_aloha"


def test_S5_the_shipped_files_of_robots_name_none_that_a_shipped_bundle_flies() -> None:
    with pytest.raises(ConfigError, match="does not name the robot"):
        Bringup(target="robot").check_robot()
    others = [path for path in CELL.parent.glob("*.yaml") if path != CELL]
    assert len(others) >= 3
    for path in others:
        with pytest.raises(BundleError, match="flies robot 'sim_aloha', this one is"):
            Bringup(target="robot", robot_file=path).check_robot()


# -- W6: a bundle is all of its files --------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """The shipped bundle with its weights beside the model, as those above 2 GB are."""
    shipped = load_bundle(Bringup().bundle_path)
    model = onnx.load(str(shipped.model_path))
    onnx.save(
        model, str(tmp_path / "model.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=1024
    )
    described = yaml.safe_load((shipped.directory / "bundle.yaml").read_text())
    described["sha256"] = file_sha256(tmp_path / "model.onnx")
    (tmp_path / "bundle.yaml").write_text(yaml.safe_dump(described))
    return tmp_path


def test_W6_other_weights_are_another_bundle(large: Path) -> None:
    assert external_data(large / "model.onnx") == ["weights.bin"]
    first = load_bundle(large)
    weights = bytearray((large / "weights.bin").read_bytes())
    weights[1000] ^= 1
    (large / "weights.bin").write_bytes(weights)
    assert load_bundle(large).id != first.id
    assert load_bundle(large).sha256 == first.sha256


def test_W6_a_bundle_that_lists_its_files_refuses_others(large: Path) -> None:
    load_bundle(large).save()
    assert load_bundle(large).files == {"weights.bin": file_sha256(large / "weights.bin")}
    (large / "weights.bin").write_bytes(b"something else")
    with pytest.raises(BundleError, match=r"weights\.bin is not the file that bundle\.yaml describes"):
        load_bundle(large)
    (large / "weights.bin").unlink()
    with pytest.raises(BundleError, match=r"weights\.bin is missing"):
        load_bundle(large)


def test_W6_the_shipped_bundle_is_what_it_was() -> None:
    shipped = load_bundle(Bringup().bundle_path)
    assert shipped.files == {}
    assert shipped.id == f"small_aloha-{shipped.sha256[:12]}"


# -- W12: robot descriptions -----------------------------------------------------------------------------------

URDF = """<robot name="r">
  <joint name="arm" type="revolute"><limit lower="-0.5" upper="0.5" velocity="0.7" effort="1"/></joint>
  <joint name="finger" type="revolute"><limit lower="0" upper="0.8" velocity="0.1" effort="1"/></joint>
  <joint name="free" type="revolute"/>
</robot>"""


def test_W12_a_revolute_gripper_keeps_its_way_from_0_to_1_and_a_joint_without_bounds_its_limits() -> None:
    box = JointLimits(np.array([-3.0, 0.0, -2.0]), np.array([3.0, 1.0, 2.0]), np.full(3, 1.0))
    narrow = box.tightened(("arm", "finger", "free"), URDF)
    assert narrow.low.tolist() == [-0.5, 0.0, -2.0]
    assert narrow.high.tolist() == [0.5, 1.0, 2.0]
    assert narrow.velocity.tolist() == [0.7, 1.0, 1.0]


def test_W12_a_joint_that_cannot_be_used_is_told_and_the_others_are_used() -> None:
    told: list[str] = []
    text = URDF.replace(
        'name="free" type="revolute"/>', 'name="free" type="revolute"><limit lower="8" upper="9"/></joint>'
    )
    narrow = limits().tightened(("arm", "other", "free"), text, told.append)
    assert narrow.high[0] == 0.5
    assert narrow.high[2] == 3.0
    assert len(told) == 1
    assert "free" in told[0]
    assert len(narrow.low) == JOINTS


# -- W15: run directories --------------------------------------------------------------------------------------


def test_W15_whoever_starts_in_the_same_second_has_a_directory_of_its_own(tmp_path: Path) -> None:
    made: list[Path] = []
    threads = [threading.Thread(target=lambda: made.append(new_run_dir(tmp_path, "train"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20
    assert all(path.is_dir() for path in made)


def test_W15_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(ConfigError, match="--runs"):
        new_run_dir(tmp_path / "runs", "train")


# -- U1: system libraries --------------------------------------------------------------------------------------


def test_U1_a_system_library_that_is_missing_is_no_python_package() -> None:
    usb = ImportError("libusb-1.0.so.0: cannot open shared object file: No such file or directory")
    assert remedy(usb, "realsense").endswith("apt-get install libusb-1.0-0")
    assert "pip" not in remedy(usb, "realsense")
    other = ImportError("libfoo.so.3: cannot open shared object file: No such file or directory")
    assert "libfoo.so.3" in remedy(other, "sim").rpartition("missing")[2]
    assert "pip install 'rlt_ros[realsense]'" in remedy(
        ModuleNotFoundError("No module named 'pyrealsense2'"), "realsense"
    )


# -- U2: recordings that were cut ------------------------------------------------------------------------------


def picture(number: int) -> bytes:
    """A sensor_msgs/Image as CDR."""
    out = bytearray(b"\x00\x01\x00\x00")

    def put(value: bytes, size: int) -> None:
        while (len(out) - 4) % size:
            out.append(0)
        out.extend(value)

    put((1000 + number).to_bytes(4, "little"), 4)
    put((0).to_bytes(4, "little"), 4)
    for text in (b"cam\0",):
        put(len(text).to_bytes(4, "little"), 4)
        out.extend(text)
    put((2).to_bytes(4, "little"), 4)
    put((2).to_bytes(4, "little"), 4)
    put((5).to_bytes(4, "little"), 4)
    out.extend(b"rgb8\0")
    out.append(0)
    put((6).to_bytes(4, "little"), 4)
    put((12).to_bytes(4, "little"), 4)
    out.extend(bytes([number]) * 12)
    return bytes(out)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "cut.mcap"
    with SegmentWriter(path) as writer:
        for number in range(5):
            stamp = (1000 + number) * 10**9
            schema = "string x"
            writer.append(
                Record("/left/color/image_raw", "sensor_msgs/msg/Image", schema, picture(number), stamp, stamp)
            )
    return path


def frames(path: Path) -> tuple[list[int], RecordedCamera]:
    camera = RecordedCamera(CameraConfig("left", device=str(path)))
    camera.open()
    assert camera._frames is not None
    return [int(frame.image[0, 0, 0]) for frame in camera._frames], camera


def test_U2_a_recording_that_was_cut_plays_what_is_there_and_says_so(recording: Path) -> None:
    seen, camera = frames(recording)
    assert (seen, camera.damage) == ([0, 1, 2, 3, 4], "")
    whole = recording.read_bytes()
    recording.write_bytes(whole[:-9])
    seen, _ = frames(recording)
    assert seen == [0, 1, 2, 3, 4]
    place = whole.index(picture(3))
    recording.write_bytes(whole[: place + 10])
    seen, camera = frames(recording)
    assert seen == [0, 1, 2]
    assert f"{recording}: " in camera.damage
    assert "cannot be read" in camera.damage


@pytest.mark.parametrize("content", [b"", b"no recording at all, but rather long", b"\x89MCAP0\r\n\x01"])
def test_U2_what_is_no_recording_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.mcap"
    path.write_bytes(content)
    with pytest.raises(CameraError, match=r"x\.mcap"):
        frames(path)


# -- U4, U5: endings -------------------------------------------------------------------------------------------

SUMMARY = {"episodes": 3, "successes": 2}


def test_U5_a_full_disk_costs_the_file_and_not_the_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlt_ros.endings.deaf", lambda: None)
    assert tell_summary({**SUMMARY, "run_dir": str(tmp_path / "gone")}, as_json=True) == 1
    out = capsys.readouterr()
    assert json.loads(out.out)["episodes"] == 3
    assert "could not be written" in out.err
    assert tell_summary({**SUMMARY, "run_dir": str(tmp_path)}, as_json=True) == 0
    assert json.loads((tmp_path / "summary.json").read_text())["successes"] == 2


def test_U4_a_closed_terminal_costs_the_screen_and_not_the_file(tmp_path: Path) -> None:
    code = (
        "import sys; from rlt_ros.bringup.up import tell_summary; "
        f"sys.exit(tell_summary({ {**SUMMARY, 'run_dir': str(tmp_path)}!r}, False))"
    )
    with Path("/dev/full").open("w") as gone:
        result = subprocess.run([sys.executable, "-c", code], stdout=gone, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "summary.json").read_text())["episodes"] == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_U4_every_way_to_end_is_a_ctrl_c(number: signal.Signals, tmp_path: Path) -> None:
    code = (
        # Whoever runs the tests under nohup hands an ignored SIGHUP on to every program.
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "import sys, time; from rlt_ros import endings; endings.interrupt()\n"
        "try:\n    print('ready', flush=True)\n    time.sleep(30)\n"
        "except KeyboardInterrupt:\n    print('in order', flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "in order\n"
        assert process.wait(10) == 0


def test_U6_signals_while_python_shuts_down_change_no_exit_code(tmp_path: Path) -> None:
    """A launch file sends SIGINT again and again: to a node that is already on its way."""
    code = (
        "import atexit, sys, time; from rlt_ros import endings; endings.listen(); print('ready', flush=True)\n"
        "while not endings.asked(): time.sleep(0.01)\n"
        "endings.deaf(); atexit.register(time.sleep, 0.5); sys.exit(0)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            with_signal = signal.SIGINT if int(1e3 * time.monotonic()) % 2 else signal.SIGTERM
            os.kill(process.pid, with_signal)
            try:
                process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
        assert process.returncode == 0


def test_U6_a_signal_while_a_node_imports_is_not_lost() -> None:
    node = (Path(__file__).parents[1] / "scripts" / "node.in").read_text()
    first = [line for line in node.splitlines() if "import" in line and not line.startswith("#")]
    assert first[:2] == ["import os", "from rlt_ros import endings"]
    assert node.index("endings.listen()") < node.index("from rlt_ros.nodes")


# -- W5: a simulator's clock -----------------------------------------------------------------------------------


def test_W5_use_sim_time_is_for_all_nodes_and_may_stand_in_the_file(tmp_path: Path) -> None:
    specs = Bringup(target="sim", use_sim_time=True).nodes()
    assert all(spec.parameters["use_sim_time"] is True for spec in specs)
    path = tmp_path / "my.yaml"
    path.write_text("/**/executor_node:\n  ros__parameters:\n    use_sim_time: true\n    joints: [a, b]\n")
    Bringup(target="robot", config=path).nodes()
    path.write_text("/**/executor_node:\n  ros__parameters:\n    use_sim_time: 1\n    joints: [a, b]\n")
    with pytest.raises(ConfigError, match="must be true or false"):
        Bringup(target="robot", config=path).nodes()
