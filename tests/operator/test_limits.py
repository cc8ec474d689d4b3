"""A namespace that outgrows its ConfigMap, at the limit that holds in production."""

from functools import partial

import pytest

from pannier_operator.configmap import LIMIT_BYTES
from support.manifests import bucket, huge, usecase
from support.operators import Place, eventually, working

pytestmark = pytest.mark.cluster

TIMED = "pannier_operator_programming_duration_seconds_count"
FIT = 205  # huge Buckets beside another one and a Usecase


@pytest.mark.timeout(180)
def test_a_namespace_of_nearly_a_mebibyte_is_served_and_one_with_more_keeps_what_it_had(
    place: Place, other: Place
) -> None:
    namespaces = (place.namespace, other.namespace)
    with working(place.plane.kubeconfig, namespaces=namespaces) as operator:
        for each in (place, other):
            each.apply(bucket(), usecase())
        place.apply(*map(huge, range(FIT)))
        size = partial(operator.metric, "pannier_operator_config_bytes", namespace=place.namespace)
        eventually(lambda: len(place.config.buckets) == FIT + 1, 40)
        eventually(lambda: 0.97 * LIMIT_BYTES < size() <= LIMIT_BYTES, 40)
        served, timed = place.config, operator.metric(TIMED)

        place.apply(*map(huge, range(FIT, FIT + 10)), usecase("late"))

        eventually(lambda: place.is_ready("Usecase", "late") == ("False", "ConfigTooLarge"), 40)
        assert place.is_ready("Usecase", "attachments") == ("True", "Ready")
        assert place.config.usecases.keys() == served.usecases.keys()
        assert size() <= LIMIT_BYTES
        assert operator.metric(TIMED) == timed

        other.patch("Usecase", "attachments", spec={"suspend": "All"})
        eventually(lambda: other.is_ready("Usecase", "attachments") == ("False", "Suspended"))
        for number in range(10):
            place.delete("Bucket", f"huge-{number}")
        eventually(lambda: place.is_ready("Usecase", "late") == ("True", "Ready"), 40)
    assert place.config.usecases.keys() == {"attachments", "late"}
