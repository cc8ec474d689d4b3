"""How all tests run: properties without a deadline, since the machine may be busy otherwise."""

from hypothesis import settings

settings.register_profile("thorough", deadline=None, max_examples=100, print_blob=True)
settings.register_profile("quick", settings.get_profile("thorough"), max_examples=20)
settings.register_profile("storm", settings.get_profile("thorough"), max_examples=5000)
settings.register_profile("repeatable", settings.get_profile("thorough"), derandomize=True)
settings.load_profile("thorough")
