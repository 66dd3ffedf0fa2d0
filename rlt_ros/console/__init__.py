"""The operator's page: what it shows, and the server that shows it. No ROS here; `console_node` brings it."""
