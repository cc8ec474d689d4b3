"""What `patch` decides, said in CEL, about the same container, volumes and options."""

from collections.abc import Iterator
from typing import NamedTuple

from pannier_operator.injector import patch, sidecar
from pannier_operator.injector.mounts import CERTIFICATE_KEYS, DOTTED_CLAIM, FOLDERS
from pannier_operator.injector.options import (
    ANNOTATIONS,
    INJECT,
    INJECTED,
    NEITHER,
    OPTIONS,
    PREFIX,
    UNKNOWN,
    Option,
)
from pannier_operator.injector.patch import MESHES
from pannier_operator.injector.sidecar import (
    CLAIM,
    CLAIMS_DIR,
    GATEWAY,
    MOUNTED_DIR,
    SECRETS,
    SOCKET,
    Sidecar,
)
from pannier_operator.injector.template import Given, Template, cel, identifier, quoted

INITS = "/spec/initContainers"

_GATEWAY = f"c, c.name == {quoted(GATEWAY)}"
_EARLY = f"has(object.spec.initContainers) && object.spec.initContainers.exists({_GATEWAY})"


class Rule(NamedTuple):
    """What must be true of a pod, in CEL, and what is said where it is not.

    `found`, in CEL too, is added to that: what the pod has instead.
    """

    expression: str
    message: str
    found: str = ""

    @property
    def validation(self) -> dict[str, Template]:
        told: dict[str, Template] = {"expression": self.expression, "message": self.message}
        whole = f"{quoted(self.message)} + {self.found}"
        return told | {"messageExpression": whole} if self.found else told


def variables(given: Sidecar) -> dict[str, str]:
    """What the other expressions know the pod by."""
    native = f'c.name in {_texts(MESHES)} && has(c.restartPolicy) && c.restartPolicy == "Always"'
    found = {
        "annotations": "has(object.metadata.annotations) ? object.metadata.annotations : {}",
        "inits": "has(object.spec.initContainers) ? object.spec.initContainers : []",
        "place": f"variables.inits.map(c, c.name).indexOf({quoted(GATEWAY)})",
        "meshes": f"([0] + variables.inits.transformList(i, c, {native}, i + 1)).max()",
    }
    values = {identifier(each.name): _value(each, given.defaults[each.name]) for each in OPTIONS}
    found["asked_memory"] = values["memory_request"]
    within = f"{_above_limit()} ? variables.memory : variables.asked_memory"
    return found | values | {"memory_request": within}


def _above_limit() -> str:
    """Whether more memory is asked for than the limit: a pod that has both so is refused."""
    return "quantity(variables.asked_memory).isGreaterThan(quantity(variables.memory))"


def _value(option: Option, default: str) -> str:
    key = quoted(option.annotation)
    taken = f"{key} in variables.annotations && {_accepted(option)}"
    return f"{taken} ? variables.annotations[{key}] : {quoted(default)}"


def _accepted(option: Option) -> str:
    value = f"variables.annotations[{quoted(option.annotation)}]"
    found = f"{value}.matches({quoted(option.pattern)})"
    if option.bounds is not None:
        least, most = option.bounds
        found += f" && int({value}) >= {least} && int({value}) <= {most}"
    return found


def takes_one() -> str:
    """Whether the pod has no gateway that its user has written."""
    ours = f"has(object.spec.volumes) && object.spec.volumes.exists(v, v.name == {quoted(SOCKET)})"
    return f"!object.spec.containers.exists({_GATEWAY}) && (!({_EARLY}) || ({ours}))"


def has_room() -> str:
    """Whether no volume has a name that the gateway's are to have, before there is one."""
    named = f"has(object.spec.volumes) && object.spec.volumes.exists(v, {_named()})"
    return f"!({named}) || ({_EARLY})"


def _named() -> str:
    return f"v.name in {_texts(patch.RESERVED)} || v.name.startsWith({quoted(CLAIM)})"


# The gateway. A mutation sees what those before it did; an empty list does not live that long.


def injection(given: Sidecar) -> list[str]:
    """The mutations that give a pod its gateway."""
    followers = "i > variables.place"
    return [_sidecar(given), _told("containers"), _told("initContainers", followers), _label(given)]


def _sidecar(given: Sidecar) -> str:
    here = f'"{INITS}/" + string(variables.meshes)'
    added = [_add(here, cel(sidecar.container(given)))]
    added += (_add(quoted("/spec/volumes/-"), cel(each)) for each in sidecar.volumes())
    return (
        f"variables.place < 0 ? {_list_at(INITS, 'size(variables.inits) > 0')}"
        f" + {_list_at('/spec/volumes', 'has(object.spec.volumes)')} + [{', '.join(added)}]"
        f" : variables.place < variables.meshes - 1 ? [{_move()}] : []"
    )


def _move() -> str:
    origin, to = (
        f'"{INITS}/" + string({at})' for at in ("variables.place", "variables.meshes - 1")
    )
    return f'JSONPatch{{op: "move", from: {origin}, path: {to}}}'


def _told(containers: str, *also: str) -> str:
    """For each of `containers` the variables and the mount that it lacks."""
    mine = [f"!(c.name in {_texts((*MESHES, GATEWAY))})", *also]
    known = [(name, cel({"name": name, "value": value})) for name, value in sidecar.environment()]
    unmounted = f"e.mountPath in {_texts(patch.SOCKET_PATHS)}"
    steps = [
        ("env", "!has(c.env)", None),
        *(("env", _lacks("env", f"e.name == {quoted(name)}"), told) for name, told in known),
        ("volumeMounts", "!has(c.volumeMounts)", None),
        ("volumeMounts", _lacks("volumeMounts", unmounted), cel(sidecar.socket_mount())),
    ]
    found: list[str] = []
    for field, when, value in steps:
        end = f"/{field}" if value is None else f"/{field}/-"
        path = f'"/spec/{containers}/" + string(i) + {quoted(end)}'
        wanted = " && ".join([*mine, f"({when})"])
        added = _add(path, value or "[]")
        found.append(f"object.spec.{containers}.transformList(i, c, {wanted}, {added})")
    return " + ".join(found)


def _lacks(field: str, one: str) -> str:
    return f"!has(c.{field}) || !c.{field}.exists(e, {one})"


def _label(given: Sidecar) -> str:
    labels = "has(object.metadata.labels)"
    path = f"/metadata/labels/{INJECTED.replace('/', '~1')}"
    return (
        f"{labels} && {quoted(INJECTED)} in object.metadata.labels ? []"
        f" : ({labels} ? [] : [{_add(quoted('/metadata/labels'), '{}')}])"
        f" + [{_add(quoted(path), quoted(given.version))}]"
    )


# Buckets, each of them a parameter


def of_bucket() -> dict[str, str]:
    """What the expressions on mounts know, beside the pod, of the Bucket."""
    volume = f"object.spec.volumes.filter(v, v.name == {quoted(SECRETS)})"
    sources = "variables.volume[0].?projected.?sources.orValue([])"
    claim = "variables.claim"
    dotted = f'{quoted(DOTTED_CLAIM)} + {claim}.replace("-", "--").replace(".", "-d")'
    return {
        "wanted": f"{takes_one()} && variables.place >= 0 && {_selected()}",
        "volume": f"has(object.spec.volumes) ? {volume} : []",
        "sources": f"size(variables.volume) > 0 ? {sources} : []",
        "keys": " + ".join(_keys()),
        "fresh": f"variables.wanted ? variables.keys.distinct().filter(k, !{_mounted()}) : []",
        "claim": 'params.spec.?filesystem.?claimName.orValue("")',
        "claim_volume": f'variables.claim.contains(".") ? {dotted} : {quoted(CLAIM)} + {claim}',
    }


def _selected() -> str:
    names = 'params.metadata.name in variables.buckets.split(",")'
    return f'(variables.buckets == "*" || {names})'


def mounts() -> list[str]:
    """The mutations that mount what a Bucket names."""
    return [_secrets(), _claim()]


def _keys() -> Iterator[str]:
    """Kind, folder, name and key of everything to project."""
    certificate = "params.spec.tls.secretRef"
    keys = f"{_texts(CERTIFICATE_KEYS)}.map(k, {_key('secret', certificate, 'k')})"
    yield f"(params.spec.?tls.?secretRef.hasValue() ? {keys} : [])"
    yield _optional("configMap", "tls", "caConfigMapRef", "key")
    pair = "params.spec.s3.auth.secretRef"
    both = [
        _key("secret", pair, f"{pair}.{key}") for key in ("accessKeyIdKey", "secretAccessKeyKey")
    ]
    yield f"(params.spec.?s3.?auth.?secretRef.hasValue() ? [{', '.join(both)}] : [])"
    yield _optional("secret", "upstream", "tokenSecretRef", "key")


def _optional(kind: str, block: str, reference: str, key: str) -> str:
    at = f"params.spec.{block}.{reference}"
    there = f"params.spec.?{block}.?{reference}.hasValue()"
    return f"({there} ? [{_key(kind, at, f'{at}.{key}')}] : [])"


def _key(kind: str, reference: str, key: str) -> str:
    return (
        f'{{"kind": {quoted(kind)}, "folder": {quoted(FOLDERS[kind])},'
        f' "name": string({reference}.name), "key": string({key})}}'
    )


def _mounted() -> str:
    """Whether key `k` is among the sources."""
    found = (
        f"has(s.{kind}) && k.kind == {quoted(kind)} && s.{kind}.name == k.name"
        f" && s.{kind}.items.exists(e, e.key == k.key)"
        for kind in FOLDERS
    )
    return f"variables.sources.exists(s, {' || '.join(found)})"


def _secrets() -> str:
    path = 'k.folder + "/" + k.name + "/" + k.key'
    item = f'[{{"key": k.key, "path": {path}}}]'
    source = f'{{k.kind: {{"name": dyn(k.name), "items": dyn({item}), "optional": dyn(true)}}}}'
    sources = f"variables.fresh.map(k, {source})"
    volume = f'{{"name": dyn({quoted(SECRETS)}), "projected": dyn({{"sources": {sources}}})}}'
    mount: Template = {"name": SECRETS, "mountPath": MOUNTED_DIR, "readOnly": True}
    index = f"object.spec.volumes.map(v, v.name).indexOf({quoted(SECRETS)})"
    end = f'"/spec/volumes/" + string({index}) + "/projected/sources/-"'
    return (
        "size(variables.fresh) == 0 ? []"
        f" : size(variables.sources) == 0 ? [{_mount(volume, cel(mount))}]"
        f" : variables.fresh.map(k, {_add(end, source)})"
    )


def _claim() -> str:
    name = "variables.claim_volume"
    volume = (
        f'{{"name": dyn({name}), "persistentVolumeClaim": dyn({{"claimName": variables.claim}})}}'
    )
    mount = f'{{"name": {name}, "mountPath": {quoted(CLAIMS_DIR + "/")} + variables.claim}}'
    wanted = 'variables.wanted && variables.claim != ""'
    known = f"object.spec.volumes.exists(v, v.name == {name})"
    return f"{wanted} && !{known} ? [{_mount(volume, mount)}] : []"


def _mount(volume: str, mount: str) -> str:
    """Two operations: the volume, and its mount in the gateway."""
    path = f'"{INITS}/" + string(variables.place) + "/volumeMounts/-"'
    return f"{_add(quoted('/spec/volumes/-'), volume)}, {_add(path, mount)}"


# What is refused


def rules() -> list[Rule]:
    """All that a pod may be refused for, in the webhook's words."""
    label = f"object.metadata.labels[{quoted(INJECT)}]"
    unlabelled = f"!has(object.metadata.labels) || !({quoted(INJECT)} in object.metadata.labels)"
    known = f"!k.startsWith({quoted(PREFIX)}) || k in {_texts(ANNOTATIONS)}"
    port, admin_port = cel(Given("port")), cel(Given("admin-port"))
    on_the_node = "has(object.spec.hostNetwork) && object.spec.hostNetwork"
    chosen = f"{_texts(patch.PORTS)}.all(k, k in variables.annotations)"
    stranger = f'"; " + variables.annotations.filter(k, !({known}))[0] + " is none of them"'
    return [
        *map(_absent_or_accepted, OPTIONS),
        Rule(_ours_alone(), patch.NAMED),
        Rule(f'{unlabelled} || {label} in ["true", "false"]', NEITHER, _it_is(label)),
        Rule(f"variables.annotations.all(k, {known})", UNKNOWN, stranger),
        Rule(f"{port} != {admin_port}", patch.SAME_PORT),
        Rule(f"!{_above_limit()}", patch.TOO_LITTLE_MEMORY),
        Rule(f"!({on_the_node}) || {chosen}", patch.ON_THE_NODE),
        Rule(f"(variables.inits + object.spec.containers).all(c, {_free()})", patch.CROWDED),
    ]


def _absent_or_accepted(option: Option) -> Rule:
    key = quoted(option.annotation)
    accepted = f"!({key} in variables.annotations) || ({_accepted(option)})"
    return Rule(accepted, option.complaint, _it_is(f"variables.annotations[{key}]"))


def _it_is(value: str) -> str:
    return f'"; it is \'" + {value} + "\'"'


def _ours_alone() -> str:
    """Whether volumes with the gateway's names are the gateway's, which mounts all that it has."""
    mounts = "variables.inits[variables.place].?volumeMounts.orValue([])"
    ours = f"variables.place >= 0 && {mounts}.exists(m, m.name == v.name)"
    return f"!has(object.spec.volumes) || object.spec.volumes.all(v, !({_named()}) || {ours})"


def _free() -> str:
    taken = f"p.containerPort in [{cel(Given('port', True))}, {cel(Given('admin-port', True))}]"
    tcp = '!has(p.protocol) || p.protocol in ["", "TCP"]'
    return f"c.name == {quoted(GATEWAY)} || !has(c.ports) || !c.ports.exists(p, {taken} && ({tcp}))"


# Spelling


def _add(path: str, value: str) -> str:
    return f'JSONPatch{{op: "add", path: {path}, value: {value}}}'


def _list_at(path: str, there: str) -> str:
    """What makes an empty list at `path` unless it is there."""
    return f"({there} ? [] : [{_add(quoted(path), '[]')}])"


def _texts(values: tuple[str, ...]) -> str:
    return f"[{', '.join(map(quoted, values))}]"
