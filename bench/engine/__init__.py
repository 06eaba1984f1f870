"""The engine's speed on this machine, beside the floor: the same calls with nothing recorded."""
