"""A robot as `robot.yaml` says it once: what there is, and what every node must know of it."""
