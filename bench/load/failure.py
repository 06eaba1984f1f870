"""Why a load cannot be made at all."""


class LoadFailed(Exception):
    """The deployment or an agent does not do what a load needs; the message says what."""
