from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert

from pannier_gateway.settings import parse_settings
from pannier_operator.injector import mounts, patch
from pannier_operator.injector.options import OPTIONS, Refused
from pannier_operator.injector.pod import Pod
from pannier_operator.injector.sidecar import DEFAULTS, Sidecar

SIDECAR = Sidecar(image="pannier-gateway:1", version="1.2.3", defaults=DEFAULTS)
PROXY = {"name": "istio-proxy", "image": "proxy", "restartPolicy": "Always"}

Body = dict[str, Any]


def a_pod(*names: str, annotations: dict[str, str] | None = None, **spec: Any) -> Body:
    containers = [{"name": name, "image": name} for name in names or ("app",)]
    metadata: Body = {"name": "p", "labels": {"pannier.dev/inject": "true"}}
    if annotations is not None:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": {"containers": containers, **spec}}


def a_bucket(name: str = "main", **spec: Any) -> Body:
    return {"metadata": {"name": name}, "spec": spec}


def with_pair(name: str, secret: str, *keys: str) -> Body:
    reference = {"name": secret, "accessKeyIdKey": keys[0], "secretAccessKeyKey": keys[1]}
    return a_bucket(name, s3={"auth": {"mode": "Secret", "secretRef": reference}})


def injected(body: Body, *buckets: Body) -> Body:
    operations = patch.patch(convert(body, Pod), SIDECAR, mounts.parse(list(buckets)))
    result: Body = jsonpatch.apply_patch(body, operations)
    return result


def gateway_of(body: Body) -> Body:
    (found,) = [c for c in body["spec"]["initContainers"] if c["name"] == "pannier-gateway"]
    return dict(found)


def init_names(body: Body) -> list[str]:
    return [each["name"] for each in body["spec"]["initContainers"]]


def refusal(body: Body) -> str:
    with pytest.raises(Refused) as refused:
        injected(body)
    return str(refused.value)


def test_a_pod_gets_the_gateway_as_a_native_sidecar() -> None:
    gateway = gateway_of(injected(a_pod()))

    assert gateway["restartPolicy"] == "Always"
    assert gateway["startupProbe"]["httpGet"] == {"path": "/startupz", "port": 8651}
    assert "--listen=127.0.0.1:8650" in gateway["args"]
    assert gateway["resources"]["limits"] == {"memory": "256Mi"}


def test_applications_are_told_where_the_gateway_is() -> None:
    result = injected(a_pod("app", "helper"))

    for container in result["spec"]["containers"]:
        assert {"name": "PANNIER_URL", "value": "http://127.0.0.1:8650"} in container["env"]
        assert container["volumeMounts"] == [
            {"name": "pannier-socket", "mountPath": "/run/pannier", "readOnly": True}
        ]


def test_a_value_that_the_user_set_is_kept() -> None:
    mine = {"name": "PANNIER_URL", "value": "http://elsewhere"}
    own_mount = {"name": "mine", "mountPath": "/run/pannier/"}
    body = a_pod(volumes=[{"name": "mine", "emptyDir": {}}])
    body["spec"]["containers"][0] |= {"env": [mine], "volumeMounts": [own_mount]}

    (container,) = injected(body)["spec"]["containers"]

    assert container["env"][0] == mine
    assert [each["name"] for each in container["env"]] == ["PANNIER_URL", "PANNIER_SOCKET"]
    assert container["volumeMounts"] == [own_mount]


def test_the_gateway_starts_before_the_init_containers_of_the_user_which_may_use_it() -> None:
    result = injected(a_pod(initContainers=[{"name": "migrate", "image": "m"}]))

    assert init_names(result) == ["pannier-gateway", "migrate"]
    assert result["spec"]["initContainers"][1]["env"][0]["name"] == "PANNIER_URL"
    assert "PANNIER_URL" not in str(gateway_of(result))


def test_the_gateway_starts_after_a_mesh_proxy_which_is_told_nothing() -> None:
    setup = {"name": "istio-init", "image": "i"}
    result = injected(a_pod(initContainers=[setup, PROXY, {"name": "migrate", "image": "m"}]))

    assert init_names(result) == ["istio-init", "istio-proxy", "pannier-gateway", "migrate"]
    assert result["spec"]["initContainers"][1] == PROXY


def test_a_proxy_that_is_no_native_sidecar_does_not_delay_the_gateway() -> None:
    once = {"name": "istio-proxy", "image": "i"}

    assert init_names(injected(a_pod(initContainers=[once])))[0] == "pannier-gateway"


def test_a_proxy_that_came_later_is_put_before_the_gateway_when_asked_again() -> None:
    first = injected(a_pod(initContainers=[{"name": "migrate", "image": "m"}]))
    inits = first["spec"]["initContainers"]
    first["spec"]["initContainers"] = [*inits[:1], PROXY, *inits[1:]]

    again = injected(first)

    assert init_names(again) == ["istio-proxy", "pannier-gateway", "migrate"]
    assert injected(again) == again


def test_a_container_that_came_later_is_told_when_asked_again() -> None:
    first = injected(a_pod())
    first["spec"]["containers"].append({"name": "late", "image": "l"})

    assert injected(first)["spec"]["containers"][1]["env"][0]["name"] == "PANNIER_URL"


def test_a_pod_that_opts_out_is_left_alone() -> None:
    body = a_pod()
    body["metadata"]["labels"]["pannier.dev/inject"] = "false"

    assert injected(body) == body


def test_a_pod_that_runs_a_gateway_of_its_own_is_left_alone() -> None:
    for body in (
        a_pod("app", "pannier-gateway"),
        a_pod(initContainers=[{"name": "pannier-gateway", "restartPolicy": "Always"}]),
    ):
        assert injected(body) == body


def test_a_label_that_is_neither_true_nor_false_is_refused() -> None:
    body = a_pod()
    body["metadata"]["labels"]["pannier.dev/inject"] = "yes"

    assert refusal(body) == 'label pannier.dev/inject must be "true" or "false"; it is \'yes\''


GOOD = {
    "port": ["1024", "65535"],
    "admin-port": ["9000"],
    "cpu": ["1", "250m"],
    "memory": ["128Mi", "1Gi"],
    "memory-request": ["1Mi", "256Mi"],
    "spool-size": ["512Mi"],
    "drain": ["0", "3600"],
    "log-level": ["debug", "error"],
    "buckets": ["*", "main", "a.b,c-d"],
}
BAD = {
    "port": ["80", "65536", "http", "", "08650", "8650\n", "8650\n"],
    "admin-port": ["1023", "-1"],
    "cpu": ["0", "1.5", "lots"],
    "memory": ["256", "256M", "-1Gi", "0Mi"],
    "memory-request": ["1Ki"],
    "spool-size": ["big"],
    "drain": ["-1", "3601", "25s"],
    "log-level": ["trace", "INFO"],
    "buckets": ["", "a,,b", "a b", "Main", ","],
}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: str(option.name))
def test_each_annotation_takes_what_it_allows_and_names_itself_otherwise(option: Any) -> None:
    for value in GOOD[option.name]:
        injected(a_pod(annotations={option.annotation: value}))
    for value in BAD[option.name]:
        told = refusal(a_pod(annotations={option.annotation: value}))
        assert told == f"annotation {option.annotation} must be {option.allowed}; it is {value!r}"


def test_annotations_reach_the_gateway() -> None:
    asked = {f"pannier.dev/{name}": values[0] for name, values in GOOD.items()}
    result = injected(a_pod(annotations=asked))

    gateway = gateway_of(result)
    assert gateway["args"][3:] == [
        "--spool-size=512Mi",
        "--listen=127.0.0.1:1024",
        "--admin-listen=0.0.0.0:9000",
        "--drain=0",
        "--log-level=debug",
    ]
    assert gateway["resources"] == {
        "requests": {"cpu": "1", "memory": "1Mi"},
        "limits": {"memory": "128Mi"},
    }
    assert gateway["livenessProbe"]["httpGet"]["port"] == 9000
    assert gateway["ports"][0]["containerPort"] == 9000
    assert result["spec"]["volumes"][1]["emptyDir"] == {"sizeLimit": "512Mi"}
    assert {"name": "PANNIER_URL", "value": "http://127.0.0.1:1024"} in (
        result["spec"]["containers"][0]["env"]
    )


def test_the_cpu_request_is_a_limit_where_the_cluster_wants_it() -> None:
    limited = Sidecar(image="i", version="1", defaults=DEFAULTS, cpu_limit=True)
    body = a_pod(annotations={"pannier.dev/cpu": "2"})

    operations = patch.patch(convert(body, Pod), limited, ())

    gateway = gateway_of(jsonpatch.apply_patch(body, operations))
    assert gateway["resources"]["limits"]["cpu"] == gateway["resources"]["requests"]["cpu"] == "2"


def test_the_gateway_understands_what_it_is_told() -> None:
    gateway = gateway_of(injected(a_pod(annotations={"pannier.dev/drain": "7"})))

    settings = parse_settings(gateway["args"], {v["name"]: v["value"] for v in gateway["env"]})

    assert str(settings.config) == "/etc/pannier/config/config.json"
    assert str(settings.socket) == "/run/pannier/gateway.sock"
    assert (settings.listen.host, settings.listen.port) == ("127.0.0.1", 8650)
    assert (settings.admin_listen.host, settings.admin_listen.port) == ("0.0.0.0", 8651)
    assert settings.drain == 7


def test_an_unknown_annotation_is_refused_with_those_there_are() -> None:
    told = refusal(a_pod(annotations={"pannier.dev/loglevel": "debug", "mine/other": "x"}))

    assert told.endswith("pannier.dev/loglevel is none of them")
    assert "log-level" in told


def test_one_port_for_both_is_refused() -> None:
    assert "both are 8650" in refusal(a_pod(annotations={"pannier.dev/admin-port": "8650"}))


def test_a_request_above_its_limit_is_refused() -> None:
    told = refusal(a_pod(annotations={"pannier.dev/memory": "64Mi"}))

    assert told.endswith("at most pannier.dev/memory; 96Mi is more than 64Mi")


def test_a_pod_on_the_network_of_its_node_must_choose_ports() -> None:
    ports = {"pannier.dev/port": "18650", "pannier.dev/admin-port": "18651"}

    assert "hostNetwork" in refusal(a_pod(hostNetwork=True))
    gateway_of(injected(a_pod(hostNetwork=True, annotations=ports)))


def test_a_container_on_a_port_of_the_gateway_is_refused() -> None:
    body = a_pod()
    body["spec"]["containers"][0]["ports"] = [{"containerPort": 8651}]
    assert refusal(body).endswith("container app has 8651")

    body["spec"]["containers"][0]["ports"] = [{"containerPort": 8651, "protocol": "UDP"}]
    gateway_of(injected(body))


def test_a_volume_with_a_name_of_the_gateways_is_refused() -> None:
    for name in ("pannier-config", "pannier-claim-x"):
        told = refusal(a_pod(volumes=[{"name": name, "emptyDir": {}}]))
        assert told == f"{patch.NAMED}; volume {name} has one"


# What Buckets need


def test_secrets_of_buckets_are_mounted_key_by_key() -> None:
    tls = {"secretRef": {"name": "mtls"}, "caConfigMapRef": {"name": "roots", "key": "ca.pem"}}
    pair = {"name": "keys", "accessKeyIdKey": "ID", "secretAccessKeyKey": "SECRET"}
    bucket = a_bucket(s3={"auth": {"mode": "Secret", "secretRef": pair}}, tls=tls)
    token = {"tokenSecretRef": {"name": "hub", "key": "token"}}

    result = injected(a_pod(), bucket, a_bucket("up", upstream=token))

    (volume,) = [v for v in result["spec"]["volumes"] if v["name"] == "pannier-secrets"]
    assert [
        (kind, source["name"], source["items"][0]["path"], source["optional"])
        for each in volume["projected"]["sources"]
        for kind, source in each.items()
    ] == [
        ("secret", "mtls", "secrets/mtls/ca.crt", True),
        ("secret", "mtls", "secrets/mtls/tls.crt", True),
        ("secret", "mtls", "secrets/mtls/tls.key", True),
        ("configMap", "roots", "config-maps/roots/ca.pem", True),
        ("secret", "keys", "secrets/keys/ID", True),
        ("secret", "keys", "secrets/keys/SECRET", True),
        ("secret", "hub", "secrets/hub/token", True),
    ]
    assert {"name": "pannier-secrets", "mountPath": "/etc/pannier/mounted", "readOnly": True} in (
        gateway_of(result)["volumeMounts"]
    )
    assert "pannier-secrets" not in str(result["spec"]["containers"])


def test_a_key_that_two_buckets_share_is_projected_once() -> None:
    result = injected(a_pod(), with_pair("a", "s", "K", "K"), with_pair("b", "s", "K", "L"))

    sources = result["spec"]["volumes"][3]["projected"]["sources"]
    assert [each["secret"]["items"][0]["key"] for each in sources] == ["K", "L"]


def test_a_bucket_that_has_changed_counts_for_the_next_pod_that_chooses_alike() -> None:
    for secret in ("old", "new"):
        spec = injected(a_pod(), with_pair("main", secret, "id", "key"))["spec"]

        (volume,) = [each for each in spec["volumes"] if each["name"] == "pannier-secrets"]
        named = {each["secret"]["name"] for each in volume["projected"]["sources"]}
        assert named == {secret}


def test_claims_of_buckets_are_mounted_by_name() -> None:
    claims = ("data", "a.b", "a-db", "a--b")
    buckets = [a_bucket(c.replace(".", "x"), filesystem={"claimName": c}) for c in claims]

    result = injected(a_pod(), *buckets, a_bucket("own", filesystem={}))

    volumes = {v["name"]: v["persistentVolumeClaim"] for v in result["spec"]["volumes"][3:]}
    mounted = {m["mountPath"]: m["name"] for m in gateway_of(result)["volumeMounts"][3:]}
    assert {f"/claims/{c}" for c in claims} == set(mounted)
    assert all(volumes[mounted[f"/claims/{c}"]] == {"claimName": c} for c in claims)


CLAIMS = st.from_regex("[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?([.][a-z0-9]{1,3}){0,2}", fullmatch=True)


@given(st.sets(CLAIMS, min_size=2))
def test_no_two_claims_share_a_volume(claims: set[str]) -> None:
    names = {mounts.claim_volume(each) for each in claims}

    assert len(names) == len(claims)
    assert not any("." in each for each in names)


def test_a_bucket_that_fits_no_schema_keeps_no_pod_waiting() -> None:
    strange: list[Any] = [a_bucket("list") | {"spec": [1]}, {"spec": {}}, None]

    (found,) = mounts.parse([*strange, a_bucket("main")])

    assert found.metadata.name == "main"


def test_a_pod_may_ask_for_some_buckets_only() -> None:
    buckets = [with_pair(name, f"of-{name}", "I", "S") for name in ("a", "b", "c")]
    some = injected(a_pod(annotations={"pannier.dev/buckets": "c,a"}), *buckets)

    sources = some["spec"]["volumes"][3]["projected"]["sources"]
    assert [each["secret"]["name"] for each in sources] == ["of-a", "of-a", "of-c", "of-c"]


def test_without_secrets_there_is_no_volume_for_them() -> None:
    assert "pannier-secrets" not in str(injected(a_pod(), a_bucket(s3={"auth": {}})))


# Any pod

NAMES = st.sampled_from(["a", "b", "app", "istio-proxy", "linkerd-proxy", "pannier-x"])
OWN = st.fixed_dictionaries(
    {"name": st.sampled_from(["PANNIER_URL", "PANNIER_SOCKET", "HOME"])},
    optional={"value": st.text(max_size=3), "valueFrom": st.just({"fieldRef": {}})},
)
MOUNT = st.fixed_dictionaries(
    {"name": st.just("v"), "mountPath": st.sampled_from(["/run/pannier", "/run/pannier/", "/x"])}
)
CONTAINER = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "restartPolicy": st.just("Always"),
        "env": st.none() | st.lists(OWN, max_size=3),
        "volumeMounts": st.none() | st.lists(MOUNT, max_size=2),
        "ports": st.none() | st.just([{"containerPort": 80}]),
        "stdin": st.booleans(),
    },
)
SPEC = st.fixed_dictionaries(
    {"containers": st.lists(CONTAINER, min_size=1, max_size=3)},
    optional={
        "initContainers": st.none() | st.lists(CONTAINER, max_size=4),
        "volumes": st.none() | st.lists(st.just({"name": "v", "emptyDir": {}}), max_size=2),
        "nodeSelector": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    },
)
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.none() | st.dictionaries(st.sampled_from(["x", "y"]), st.text(max_size=3)),
        "annotations": st.none() | st.just({"pannier.dev/port": "9999"}),
    },
)
PODS = st.fixed_dictionaries({"metadata": METADATA, "spec": SPEC})


def within(small: Any, large: Any) -> bool:
    """Whether all of `small` is in `large`, lists in their order."""
    if isinstance(small, dict):
        return isinstance(large, dict) and all(
            not small[key] or (key in large and within(small[key], large[key])) for key in small
        )
    if isinstance(small, list):
        rest = iter(large)
        return all(any(within(each, other) for other in rest) for each in small)
    return bool(small == large)


@given(PODS)
def test_any_pod_keeps_what_it_had_and_is_patched_once(body: Body) -> None:
    result = injected(body, with_pair("a", "s", "I", "S"), a_bucket("f", filesystem={}))

    assert within(body, result)
    assert injected(result, with_pair("a", "s", "I", "S")) == result
    names = init_names(result)
    natives = {c["name"] for c in body["spec"].get("initContainers") or () if "restartPolicy" in c}
    place = names.index("pannier-gateway")
    assert not (set(names[place:]) & natives & set(patch.MESHES) - set(names[:place]))


@given(PODS)
def test_every_application_container_of_any_pod_knows_the_gateway(body: Body) -> None:
    before, after = (each["spec"]["containers"] for each in (body, injected(body)))

    for had, has in zip(before, after, strict=True):
        told = [each["name"] for each in has.get("env") or ()]
        known = [each["name"] for each in had.get("env") or ()]
        added = [] if "PANNIER_URL" in known or had["name"] in patch.MESHES else ["PANNIER_URL"]
        assert [each for each in told[len(known) :] if each == "PANNIER_URL"] == added


def test_the_volumes_of_a_gateway_hinder_no_pod_from_starting_and_cannot_fill_its_node() -> None:
    result = injected(a_pod(annotations={"pannier.dev/spool-size": "3Gi"}))

    volumes = {each["name"]: each for each in result["spec"]["volumes"]}
    config = {"name": "pannier-config", "optional": True}  # a pod may be older than the first one
    assert volumes["pannier-config"]["configMap"] == config
    assert volumes["pannier-data"]["emptyDir"] == {"sizeLimit": "3Gi"}
    assert volumes["pannier-socket"]["emptyDir"] == {"sizeLimit": "1Mi"}


def test_what_is_mounted_is_mounted_whole_so_that_changes_arrive() -> None:
    bucket = with_pair("main", "keys", "id", "secret")
    result = injected(a_pod(), bucket)

    mounted = gateway_of(result)["volumeMounts"]
    assert {"pannier-config", "pannier-secrets"} <= {each["name"] for each in mounted}
    for each in mounted:
        assert each.keys().isdisjoint({"subPath", "subPathExpr"})
