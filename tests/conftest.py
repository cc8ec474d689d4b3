"""How all tests run: properties without a deadline, since the machine may be busy otherwise."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from support.cluster import ControlPlane, running_control_plane, running_controllers
from support.makes import Engines

settings.register_profile("thorough", deadline=None, max_examples=100, print_blob=True)
settings.register_profile("quick", settings.get_profile("thorough"), max_examples=10)
settings.register_profile("storm", settings.get_profile("thorough"), max_examples=5000)
settings.register_profile("repeatable", settings.get_profile("thorough"), derandomize=True)
settings.load_profile("thorough")


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real kube-apiserver with our CRDs, shared: what a test puts there goes into `namespace`."""
    with running_control_plane(tmp_path_factory.mktemp("cluster")) as plane:
        plane.install_crds()
        yield plane


@pytest.fixture(scope="session")
def controlled_plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The same with controllers at work: pods can be created, their parents make and end them."""
    with running_controllers(control_plane):
        yield control_plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    """A namespace of this test's own."""
    return control_plane.create_namespace()


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """Those that tests ask for; each bucket is one test's own."""
    with Engines(tmp_path_factory.mktemp("engines")) as engines:
        yield engines
