"""The injector's own way to the API server, when something is wrong with it."""

from pathlib import Path

import pytest

from pannier_operator.api import Refused, Unreachable
from pannier_operator.cluster import Connection
from pannier_operator.injector.cluster import ClusterBuckets, connected
from support.apiproxy import Proxy
from support.cluster import ControlPlane, free_ports
from support.injection import a_bucket, namespace_of

pytestmark = pytest.mark.slow


async def logged_in(kubeconfig: Path) -> Connection:
    login = Connection(kubeconfig)
    await login.load()
    return login


async def test_buckets_are_those_of_the_namespace(control_plane: ControlPlane) -> None:
    one, other = namespace_of(control_plane), namespace_of(control_plane)
    one.add("/apis/pannier.dev/v1alpha1/buckets", a_bucket("main", type="Filesystem"))

    async with connected(await logged_in(control_plane.kubeconfig)) as server:
        buckets = ClusterBuckets(server)
        assert [b.metadata.name for b in await buckets.buckets(one.namespace)] == ["main"]
        assert await buckets.buckets(other.namespace) == ()


async def test_many_buckets_are_listed_a_few_at_a_time(
    control_plane: ControlPlane, proxy: Proxy, way: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pannier_operator.injector.cluster.PAGE", 2)
    one, names = namespace_of(control_plane), [f"b-{number}" for number in range(5)]
    for each in names:
        one.add("/apis/pannier.dev/v1alpha1/buckets", a_bucket(each, type="Filesystem"))

    async with connected(await logged_in(way)) as server:
        found = await ClusterBuckets(server).buckets(one.namespace)

    assert [each.metadata.name for each in found] == names
    assert proxy.count("list", "buckets") == 3


async def test_a_token_that_has_run_out_is_fetched_anew(control_plane: ControlPlane) -> None:
    file = control_plane.kubeconfig_for("run-out")
    login = await logged_in(file)

    async with connected(login) as server:
        with pytest.raises(Refused, match="401"):
            await ClusterBuckets(server).buckets("default")
        file.write_text(control_plane.kubeconfig.read_text())

        assert await ClusterBuckets(server).buckets("default") == ()


async def test_a_token_that_can_not_be_read_for_a_moment_is_an_error_of_the_cluster(
    control_plane: ControlPlane,
) -> None:
    file = control_plane.kubeconfig_for("run-out")
    login = await logged_in(file)

    async with connected(login) as server:
        file.unlink()
        with pytest.raises(Unreachable, match="no way to a cluster"):
            await ClusterBuckets(server).buckets("default")
        file.write_text(control_plane.kubeconfig.read_text())

        assert await ClusterBuckets(server).buckets("default") == ()


async def test_a_server_that_is_away_or_is_no_api_server_is_an_error_of_the_cluster(
    control_plane: ControlPlane,
) -> None:
    away = control_plane.kubeconfig_for("t", f"https://127.0.0.1:{free_ports(1)[0]}")
    async with connected(await logged_in(away)) as server:
        with pytest.raises(Unreachable):
            await ClusterBuckets(server).buckets("default")

    async with connected(await logged_in(control_plane.kubeconfig)) as server:
        with pytest.raises(Unreachable, match="no object"):
            await server.request("GET", "/readyz")
