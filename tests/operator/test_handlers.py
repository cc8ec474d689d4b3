"""How kopf is told to watch; what comes of it is tested on an API server, in `test_faults`."""

from collections.abc import Iterable
from itertools import islice

from pannier_operator.handlers import settings


def test_what_fails_is_tried_again_for_ever_and_never_long_apart() -> None:
    backoffs = settings().networking.error_backoffs
    assert isinstance(backoffs, Iterable)

    delays = list(islice(backoffs, 1000))

    assert len(delays) == 1000
    assert max(delays) <= 30
