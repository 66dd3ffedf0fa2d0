"""What runs: nodes with their parameters and remappings, processes, run directories, check-up."""
