"""The three demo agents: A2A servers on the official Python SDK, each a process of its own."""
