"""The demo agents and the guided run of `make demo`."""
