"""The one way in which a part of the stack fails."""


class StackFailed(Exception):
    """A part cannot be provided or does not work; the message says which, and what to do."""
