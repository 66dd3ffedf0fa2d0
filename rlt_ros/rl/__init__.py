"""Reinforcement learning of the RL Token method, in PyTorch; knows nothing of ROS."""
