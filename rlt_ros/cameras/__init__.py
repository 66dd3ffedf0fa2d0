"""Cameras: one protocol over several kinds of device, one thread each, synchronous sets of the newest frames."""
