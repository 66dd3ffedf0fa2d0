"""The journal: append-only MCAP files of what the robot lived through, and reading them back."""
