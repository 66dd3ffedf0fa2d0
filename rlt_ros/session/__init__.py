"""Episodes: the state machine from reset to outcome, and the statistics a lab watches."""
