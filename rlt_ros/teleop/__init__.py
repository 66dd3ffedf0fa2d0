"""A human at the robot: joysticks and their mappings, Cartesian motion, takeover and labels."""
