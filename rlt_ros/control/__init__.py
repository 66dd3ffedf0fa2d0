"""The control path in numpy: timelines, limits, actor, state machine, real-time loop. No torch, no ROS."""
