"""The graph's control path in one process without ROS, as fast as the machine allows: evaluation and fast training."""
