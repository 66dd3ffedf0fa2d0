"""ROS 2 adapters, one file a node: parameters, topics, and calls into the packages that do the work."""
