"""When the operator cannot do its work here at all."""


class Unusable(Exception):
    """Settings, credentials or CRDs that do not do; one line for whoever started the process."""
