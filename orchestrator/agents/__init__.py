"""The A2A client."""
