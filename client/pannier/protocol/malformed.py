"""The one error of the wire grammar: what arrived cannot be read, and the message says why."""


class Malformed(ValueError):
    """A piece of the wire format that breaks its grammar.

    The message is complete in itself, fit to be the detail of a 400.
    """
