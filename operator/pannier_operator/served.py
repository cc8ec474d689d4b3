"""Whether the cluster's CRDs are as new as this operator.

An API server drops what its schema does not know without a word: a status would vanish, be written
again, and vanish again.
"""

from collections.abc import Iterator

import yaml

from pannier_gateway.config import crds
from pannier_operator.api import BUCKETS, USECASES, VERSION, Cluster, Json, Refused
from pannier_operator.unusable import Unusable

SCHEMA = f"/openapi/v3/apis/{crds.GROUP}/{VERSION}"
ADVICE = "apply this version's CRDs: pannier-operator crds | kubectl apply --server-side -f -"


async def check(cluster: Cluster) -> None:
    """Raises Unusable if a field of a status is not served, and ClusterError."""
    try:
        served = await cluster.get(SCHEMA)
    except Refused as refusal:
        if refusal.status != 404:
            raise
        raise Unusable(f"the cluster has no CRDs of {crds.GROUP}/{VERSION}; {ADVICE}") from refusal
    if missing := list(unserved(served)):
        raise Unusable(f"the cluster's CRDs lack {', '.join(missing)}; {ADVICE}")


def unserved(document: Json) -> Iterator[str]:
    """The fields of our statuses that OpenAPI `document` lacks, such as usecases.status.x."""
    schemas = document.get("components", {}).get("schemas", {})
    by_kind = {name.rpartition(".")[2]: schema for name, schema in schemas.items()}
    for each in (USECASES, BUCKETS):
        theirs = by_kind.get(each.kind, {}).get("properties", {}).get("status", {})
        yield from _missing(_status(each.kind), theirs, f"{each.plural}.status")


def _missing(ours: Json, theirs: Json, path: str) -> Iterator[str]:
    properties = theirs.get("properties", {})
    for name, part in ours.get("properties", {}).items():
        if name not in properties:
            yield f"{path}.{name}"
        else:
            inside, given = part.get("items", part), properties[name]
            yield from _missing(inside, given.get("items", given), f"{path}.{name}")


def _status(kind: str) -> Json:
    """The schema of the status of `kind`, from the CRDs that this operator comes with."""
    for crd in yaml.safe_load_all(crds.FILE.read_text(encoding="utf-8")):
        if crd["spec"]["names"]["kind"] == kind:
            (version,) = crd["spec"]["versions"]
            status: Json = version["schema"]["openAPIV3Schema"]["properties"]["status"]
            return status
    raise LookupError(kind)
