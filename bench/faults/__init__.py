"""The fault bench: real processes, real faults, and an oracle that compares three sources."""
