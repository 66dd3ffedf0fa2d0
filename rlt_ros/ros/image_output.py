"""Sets of pictures on the wire: Image and CameraInfo of every camera, all with the set's one stamp."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from rlt_ros.cameras.camera import Intrinsics, Picture
from rlt_ros.ros.fields import to_stamp

_DEPTH = 2


class ImageOutput:
    """Publishes `<camera>/color/image_raw` and `camera_info`: names of realsense-ros, optical frames by REP 103."""

    def __init__(self, node: Node, cameras: Sequence[str]) -> None:
        """Connect."""
        self._images = {name: node.create_publisher(Image, f"{name}/color/image_raw", _DEPTH) for name in cameras}
        self._infos = {name: node.create_publisher(CameraInfo, f"{name}/color/camera_info", _DEPTH) for name in cameras}

    @property
    def publishers(self) -> list[object]:
        """To be destroyed."""
        return [*self._images.values(), *self._infos.values()]

    def publish(
        self, captured: float, pictures: Mapping[str, Picture], intrinsics: Mapping[str, Intrinsics | None]
    ) -> None:
        """One set.

        Args:
            captured: when it was taken, seconds since the epoch.
            pictures: of each camera, as they go out.
            intrinsics: of these pictures; None: not known, the focal lengths are 0 (as CameraInfo has it).
        """
        stamp = to_stamp(captured)
        for name, pixels in pictures.items():
            height, width = pixels.shape[:2]
            image = Image(height=height, width=width, encoding="rgb8", step=3 * width)
            image.header.stamp = stamp
            image.header.frame_id = f"{name}_color_optical_frame"
            data = array("B")
            data.frombytes(pixels.tobytes())
            image.data = data
            self._images[name].publish(image)
            self._infos[name].publish(_info(image, intrinsics.get(name)))


def _info(image: Image, known: Intrinsics | None) -> CameraInfo:
    info = CameraInfo(header=image.header, height=image.height, width=image.width)
    if known is None:
        return info
    info.distortion_model, info.d = known.model, list(known.distortion)
    info.k = [known.fx, 0.0, known.cx, 0.0, known.fy, known.cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [known.fx, 0.0, known.cx, 0.0, 0.0, known.fy, known.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info
