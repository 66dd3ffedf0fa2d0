"""What the nodes share: life cycle, QoS, clocks, conversion, inputs and outputs."""
