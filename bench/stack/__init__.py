"""The parts of a deployment as processes of this machine, without Docker."""
