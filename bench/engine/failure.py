"""What ends a measurement: one sentence, and what the failing part said."""


class EngineFailed(Exception):
    """Something that is measured did not do its work."""
