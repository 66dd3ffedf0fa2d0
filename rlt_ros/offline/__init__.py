"""The graph's control path in one process without ROS, faster than real time: evaluation and fast training."""
