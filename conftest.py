"""For all tests, the plugins' too: an example may take as long as the machine needs, which may have others to serve."""

from hypothesis import settings

settings.register_profile("kmetad", deadline=None)
settings.load_profile("kmetad")
