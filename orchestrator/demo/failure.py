"""Why the demo stops."""


class DemoFailed(Exception):
    """The demo cannot go on or its run did not complete; the message is one for the user."""
