"""What ends a measurement: one sentence."""


class HistoryFailed(Exception):
    """Something that is measured did not do its work."""
