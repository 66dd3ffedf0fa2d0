# Sourced: the virtual environment and the overlay that `make setup` built, without colcon's slower scripts.
_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
_overlay=$_root/install/rlt_ros
# shellcheck source=/dev/null
. "$_root/.venv/bin/activate"
_site=$(echo "$_overlay"/lib/python3.*/site-packages)
export AMENT_PREFIX_PATH=$_overlay:$VIRTUAL_ENV
export PYTHONPATH=$_site
_libs=$(printf '%s:' "$VIRTUAL_ENV"/lib/python3.*/site-packages/ros_*.libs)
export LD_LIBRARY_PATH=$_overlay/lib:$VIRTUAL_ENV/lib:$_libs${LD_LIBRARY_PATH:-}
# The ROS wheels start Python a second time to set LD_LIBRARY_PATH unless they find this; it is set above.
export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
# A graph is ten processes: where none may keep what it compiled, each compiles all that it imports, at every start.
unset PYTHONDONTWRITEBYTECODE
# Nothing leaves this machine unless the user asks for it.
export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}
unset _root _overlay _site _libs
