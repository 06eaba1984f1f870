"""What drives and measures a deployment: a stack from packages, and a load generator."""
