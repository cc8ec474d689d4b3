"""A stranger who types what docs/kubernetes.md begins with has stored an object."""

import pytest

from support.cluster import ControlPlane
from support.images import APPLICATION
from support.page import shown, typed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ON_THE_PAGE = "curlimages/curl"  # from a registry, which nobody reaches here


def test_ten_lines_lead_from_an_installation_to_a_stored_object(installed: ControlPlane) -> None:
    assert len(shown().splitlines()) <= 10

    _, *others = typed()  # the first is how `installed` came to be
    for program, *arguments in others:
        assert program == "kubectl"
        printed = installed.kubectl(*(each.replace(ON_THE_PAGE, APPLICATION) for each in arguments))

    assert printed.endswith("hello")
