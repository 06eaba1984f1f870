"""The gate's hypothesis profile: the same examples every time, and few enough to be quick."""

from hypothesis import settings

settings.register_profile("gate", derandomize=True, database=None, deadline=None, max_examples=50)
settings.load_profile("gate")
