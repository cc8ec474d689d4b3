"""The tree of errors: what its docstring draws, and which of them are the caller's."""

import re

from pannier_gateway import errors
from pannier_gateway.errors import ClientError, PannierError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, PannierError)
]


def test_the_tree_is_drawn_as_it_is() -> None:
    above: list[str] = []
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"((?:[│├└ ][─ ]{2} )*)([A-Z]\w+) (\d{3})\b", line):
            depth = len(match[1]) // 4
            above[depth:] = [match[2]]
            drawn[match[2]] = (above[depth - 1] if depth else "Exception", int(match[3]))

    assert drawn == {kind.__name__: (kind.__bases__[0].__name__, kind.status) for kind in KINDS}


def test_whose_fault_it_is_shows_in_the_status() -> None:
    ours = {kind.__name__ for kind in KINDS if kind.status >= 500}
    theirs = {kind.__name__ for kind in KINDS if issubclass(kind, ClientError)}

    assert ours & theirs == {"NotOffered"}  # asked for by mistake, and told with a 501
    assert ours | theirs == {kind.__name__ for kind in KINDS}
