"""The ConfigMap that gateways mount: read back, compared, and made anew."""

from msgspec.structs import replace

from pannier_gateway.config.model import GatewayConfig, digest, dump, parse
from pannier_gateway.config.problems import ConfigError
from pannier_operator.api import CONFIG_MAPS, Json
from pannier_operator.plan import NOTHING
from pannier_operator.world import CONFIG_LABEL, CONFIG_NAME, ConfigMap

KEY = "config.json"
LIMIT_BYTES = 900 * 1024  # of the 1 MiB that a ConfigMap may hold, keys and all
NEARLY_FULL_BYTES = 512 * 1024

LABELS = {CONFIG_LABEL: "gateway", "app.kubernetes.io/managed-by": "pannier-operator"}
DIGEST = "pannier.dev/digest"
GENERATION = "pannier.dev/generation"


def published(found: ConfigMap | None) -> GatewayConfig:
    """What gateways are told now; nothing where it cannot be read, but its generation is kept."""
    if found is None:
        return NOTHING
    try:
        return parse(found.data.get(KEY, "").encode())
    except ConfigError:
        return replace(NOTHING, generation=_noted(found))


def successor(wanted: GatewayConfig, now: GatewayConfig) -> GatewayConfig:
    """`wanted` with the generation that it has after `now`: the same one for the same content."""
    same = digest(wanted) == digest(now) and now.generation > 0
    return replace(wanted, generation=now.generation if same else now.generation + 1)


def manifest(namespace: str, config: GatewayConfig, found: ConfigMap | None) -> Json:
    """The ConfigMap with `config`; refused by the server if it is not as `found` any more."""
    version = {} if found is None else {"resourceVersion": found.resource_version}
    notes = _annotations(config)
    return CONFIG_MAPS.object(
        namespace, CONFIG_NAME, labels=LABELS, annotations=notes, **version
    ) | {"data": {KEY: dump(config).decode()}}


def holds(found: ConfigMap | None, config: GatewayConfig) -> bool:
    """Whether `found` is what `manifest` would make it, whatever else it has."""
    return (
        found is not None
        and found.data.get(KEY) == dump(config).decode()
        and LABELS.items() <= found.labels.items()
        and _annotations(config).items() <= found.annotations.items()
    )


def size(config: GatewayConfig) -> int:
    """Its bytes in a ConfigMap."""
    return len(dump(config))


def fills_up(found: ConfigMap | None, config: GatewayConfig) -> bool:
    """Whether little room is left for more than `config`, and more was left in `found`."""
    before = 0 if found is None else len(found.data.get(KEY, "").encode())
    return before <= NEARLY_FULL_BYTES < size(config)


def _annotations(config: GatewayConfig) -> dict[str, str]:
    return {DIGEST: digest(config), GENERATION: str(config.generation)}


def _noted(found: ConfigMap) -> int:
    text = found.annotations.get(GENERATION, "")
    return int(text) if text.isascii() and text.isdigit() else 0
