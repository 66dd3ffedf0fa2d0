"""The simulated bimanual cell: physics, cameras, tasks and a scripted expert.

Importing this package selects MuJoCo's headless EGL renderer unless the user chose another one.
"""

import os

# MuJoCo reads MUJOCO_GL once, when it is first imported.
os.environ.setdefault("MUJOCO_GL", "egl")
# llvmpipe: rendering in the calling thread is faster at these sizes and leaves the other core free.
os.environ.setdefault("LP_NUM_THREADS", "0")
