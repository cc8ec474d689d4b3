"""How all tests run: properties without a deadline, since the machine may be busy otherwise."""

from hypothesis import settings

settings.register_profile("pannier", deadline=None, max_examples=100)
settings.load_profile("pannier")
