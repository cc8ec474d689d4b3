"""A cluster with one real node, and Pannier installed by its chart."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from support import images, machine, node, release
from support.charts import NAMESPACE
from support.cluster import ControlPlane, running_control_plane, running_controllers
from support.pods import INJECTED, RESTRICTED, Pod, Shop

PLANE = pytest.StashKey[ControlPlane]()
SHOWN = (
    ("get", "pods,jobs,usecases", "--all-namespaces", "--output=wide"),
    ("get", "events", "--all-namespaces"),
    ("logs", f"--namespace={NAMESPACE}", "--selector=app.kubernetes.io/name=pannier", "--prefix"),
)


@pytest.fixture(scope="session")
def folder() -> Path:
    """For the files of this machine, which end with it."""
    assert machine.NAME in os.environ, "these tests need a machine of their own: use make e2e"
    return machine.folder_of(os.environ[machine.NAME])


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest, folder: Path) -> Iterator[ControlPlane]:
    """A real cluster with a real node; nothing of ours is in it yet."""
    node.prepare(folder)
    with (
        running_control_plane(folder / "cluster", node.API_SERVER) as plane,
        running_controllers(plane),
        node.running_node(plane, folder.name, Path(os.environ[images.ARCHIVE])),
    ):
        request.session.stash[PLANE] = plane
        yield plane


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """The cluster, once what the chart installs is ready."""
    release.install(control_plane)
    return control_plane


@pytest.fixture(scope="session")
def shop(installed: ControlPlane) -> Shop:
    """A namespace whose pods get gateways, with the quickstart in it."""
    made = Shop(installed, installed.create_namespace(**RESTRICTED, **INJECTED))
    made.apply_example("quickstart.yaml")
    made.until_ready("attachments", "sessions", "media")
    return made


@pytest.fixture(scope="session")
def pod(shop: Shop) -> Pod:
    """An application with its gateway."""
    return shop.start_pod("application")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, object]:
    """Tells of the cluster what would be gone with it."""
    report = yield
    if report.failed and PLANE in item.session.stash:
        for question in SHOWN:
            said = item.session.stash[PLANE].kubectl(*question)
            report.sections.append((f"kubectl {' '.join(question)}", said))
    return report
