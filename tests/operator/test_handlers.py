"""How kopf is told to watch; what comes of it is tested on an API server, in `test_faults`."""

from collections.abc import Iterable
from itertools import islice

import yaml

from pannier_operator.cluster import PAGE
from pannier_operator.handlers import settings
from pannier_operator.injector.patch import bytes_in
from support.charts import CHART

LONGEST_ANNOTATIONS = 256 << 10  # bytes, of one object, by the API server


def test_what_fails_is_tried_again_for_ever_and_never_long_apart() -> None:
    backoffs = settings().networking.error_backoffs
    assert isinstance(backoffs, Iterable)

    delays = list(islice(backoffs, 1000))

    assert len(delays) == 1000
    assert max(delays) <= 30


def test_a_watch_that_has_gone_silent_is_begun_anew_within_75_seconds() -> None:
    watching = settings().watching

    assert watching.inactivity_timeout is not None
    assert watching.connect_timeout is not None
    silence = watching.inactivity_timeout + watching.reconnect_backoff
    assert 60 < silence <= 75  # what is alive says something every minute
    assert watching.connect_timeout <= 10


def test_pages_of_the_largest_objects_have_room_in_the_memory_of_the_pod() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    memory = bytes_in(values["operator"]["resources"]["limits"]["memory"])

    assert settings().watching.chunk_size == PAGE  # whose lists come at the same time
    largest = PAGE * LONGEST_ANNOTATIONS
    assert largest <= memory / 8  # as bytes, as text, as objects: for either
