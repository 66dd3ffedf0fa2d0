"""The cell as people see it: the arms' own meshes, rounded parts, materials, shadows.

What the policy's cameras see stays as simple as it is fast: fitted boxes in groups of geoms that people are not shown,
and the other way round. Nothing here touches anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mujoco
import numpy as np
from numpy.typing import NDArray

from rlt_ros.sim.shapes import NO_CONTACT

FOR_PEOPLE = 3
"""Group of the geoms that only people see."""
_SHINE = {"plastic": (0.35, 0.5, 0.0), "metal": (0.8, 0.7, 0.0), "wood": (0.15, 0.2, 0.04)}
"""Specular, shininess and reflectance of materials."""
_METAL = (0.65, 0.82)
"""Brightness of parts without colour that are taken for metal; arms are too, all others are of plastic."""
_ROUNDING = 0.3
"""Radius of an edge as a share of the box's smallest half length; 1.2 mm at most."""


def dress_arms(spec: mujoco.MjSpec) -> None:
    """Add a copy of the arms' meshes that only people see, before boxes are made of them; then comes `dress`."""
    for name, (specular, shininess, reflectance) in _SHINE.items():
        spec.add_material(name=name, specular=specular, shininess=shininess, reflectance=reflectance)
    for geom in list(spec.geoms):
        if _of_arm(geom):
            _copy(spec, geom)


def _of_arm(geom: mujoco.MjsGeom) -> bool:
    return geom.parent.name.startswith("vx300s")


def dress(spec: mujoco.MjSpec) -> None:
    """Add a copy of everything else in the cell that only people see."""
    # Where cameras begin and stop to see is told by the size of the scene, which must not change.
    stat = spec.compile().stat
    spec.stat.extent, spec.stat.center = stat.extent, stat.center
    for geom in list(spec.geoms):
        if not _of_arm(geom):
            _copy(spec, geom)
    spec.worldbody.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[3.0, 3.0, 0.1],
        pos=[0.0, 0.5, -0.75],
        rgba=[0.62, 0.64, 0.66, 1.0],
        material="plastic",
        group=FOR_PEOPLE,
        **NO_CONTACT,
    )
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960


def _copy(spec: mujoco.MjSpec, geom: mujoco.MjsGeom) -> None:
    body = geom.parent
    arm = _of_arm(geom)
    table = body.name == "table"
    kind, mesh, size = geom.type, geom.meshname, np.array(geom.size)
    if mesh:
        kind = mujoco.mjtGeom.mjGEOM_MESH
    elif kind == mujoco.mjtGeom.mjGEOM_BOX:
        kind, mesh = mujoco.mjtGeom.mjGEOM_MESH, _rounded(spec, size)
    seen = body.add_geom(
        name=f"people_{geom.name or body.name}",
        type=kind,
        meshname=mesh,
        size=size,
        pos=geom.pos,
        quat=geom.quat,
        fromto=geom.fromto,
        rgba=[0.13, 0.13, 0.14, 1.0] if arm else [0.55, 0.42, 0.30, 1.0] if table else geom.rgba,
        material="wood" if table else "metal" if arm or _is_metal(geom.rgba) else "plastic",
        group=FOR_PEOPLE,
        mass=0.0,
        **NO_CONTACT,
    )
    seen.alt.type, seen.alt.euler = geom.alt.type, geom.alt.euler


def _is_metal(rgba: NDArray[np.float32]) -> bool:
    low, high = min(rgba[:3]), max(rgba[:3])
    return bool(high - low < 0.05 and _METAL[0] <= low and high <= _METAL[1])


def _rounded(spec: mujoco.MjSpec, half: NDArray[np.float64]) -> str:
    """A box with rounded edges, as a mesh of the specification; its name."""
    name = "rounded_" + "_".join(f"{1e6 * length:.0f}" for length in half)
    if any(mesh.name == name for mesh in spec.meshes):
        return name
    radius = min(_ROUNDING * half.min(), 0.0012)
    bend = np.linspace(0, np.pi / 2, 4)
    around, up = (angle.ravel() for angle in np.meshgrid(bend, bend))
    octant = np.stack([np.cos(around) * np.cos(up), np.sin(around) * np.cos(up), np.sin(up)], 1)
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    vertices = (signs[:, None] * (half - radius + radius * octant)).reshape(-1, 3)
    spec.add_mesh(name=name, uservert=np.unique(vertices.round(7), axis=0).ravel())
    return name


def show_people(option: mujoco.MjvOption) -> None:
    """Have a window or renderer show what people are to see."""
    option.geomgroup[:] = 0
    option.geomgroup[FOR_PEOPLE] = 1


@contextmanager
def fine(model: mujoco.MjModel) -> Iterator[None]:
    """Rendering contexts that are opened meanwhile have shadows and smooth edges, unlike the policy's cameras."""
    quality = model.vis.quality
    before = quality.shadowsize, quality.offsamples
    quality.shadowsize, quality.offsamples = 4096, 8
    try:
        yield
    finally:
        quality.shadowsize, quality.offsamples = before


class Photographer:
    """Takes pictures of a dressed cell for people."""

    def __init__(self, model: mujoco.MjModel, width: int = 640, height: int = 400) -> None:
        """Open a rendering context; close it with `close`."""
        with fine(model):
            self._renderer = mujoco.Renderer(model, height, width)
        self._option = mujoco.MjvOption()
        show_people(self._option)
        self.view = mujoco.MjvCamera()
        self.view.lookat[:] = [0.0, 0.5, 0.22]
        self.view.distance, self.view.azimuth, self.view.elevation = 1.25, 60.0, -22.0

    def look_at(self, point: NDArray[np.float64], distance: float, azimuth: float, elevation: float) -> None:
        """Move the camera: metres and degrees."""
        self.view.lookat[:] = point
        self.view.distance, self.view.azimuth, self.view.elevation = distance, azimuth, elevation

    def picture(self, data: mujoco.MjData) -> NDArray[np.uint8]:
        """The cell now, shape (height, width, 3)."""
        self._renderer.update_scene(data, camera=self.view, scene_option=self._option)
        return self._renderer.render().copy()

    def close(self) -> None:
        """Free the rendering context."""
        self._renderer.close()
