"""Who may use a name in a store that several namespaces share: the oldest that claims it.

Within a namespace `render` decides. Across namespaces a name is contested only where the Buckets
lead to the same place, for there two usecases of one name would share their objects.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from pannier_gateway.config.kinds import Bucket, Usecase
from pannier_operator.world import View

Spots = frozenset[tuple[str, str]]
"""Names at places."""


class Claim(NamedTuple):
    """When (no date yet is youngest) and by whom; the least one is the oldest."""

    undated: bool
    created: float
    usecase: str


class Claims:
    """All claims of all namespaces."""

    def __init__(self) -> None:
        self._spots: dict[str, dict[Claim, Spots]] = {}
        self._claims: dict[tuple[str, str], set[Claim]] = defaultdict(set)

    def __repr__(self) -> str:
        return f"<Claims {len(self._claims)} names in {len(self._spots)} namespaces>"

    def update(self, view: View) -> set[str]:
        """Take up what `view` claims; the other namespaces for which that may change something."""
        before = self._spots.get(view.namespace, {})
        after = claimed(view)
        touched: set[str] = set()
        for claim in before.keys() | after.keys():
            touched |= self._move(claim, before.get(claim, frozenset()), after.get(claim, Spots()))
        if after:
            self._spots[view.namespace] = after
        else:
            self._spots.pop(view.namespace, None)
        return touched - {view.namespace}

    def losers(self, namespace: str) -> dict[str, str]:
        """The usecases of `namespace` whose name is another's, each with its owner."""
        found: dict[str, str] = {}
        for claim, spots in self._spots.get(namespace, {}).items():
            for spot in sorted(spots):
                owner = min(self._claims[spot])
                if _namespace(owner) != namespace:
                    found.setdefault(claim.usecase, owner.usecase)
        return found

    def namespaces(self) -> set[str]:
        """Those that claim anything."""
        return set(self._spots)

    def _move(self, claim: Claim, before: Spots, after: Spots) -> set[str]:
        """Change the spots of `claim`; the namespaces of all that share one with it."""
        touched: set[str] = set()
        for spot in before ^ after:
            claims = self._claims[spot]
            touched |= {_namespace(each) for each in claims}
            claims.symmetric_difference_update({claim})
            if not claims:
                del self._claims[spot]
        return touched


def claimed(view: View) -> dict[Claim, Spots]:
    """What the usecases of `view` claim; those without a readable Bucket claim nothing."""
    places = {
        seen.name: places_of(seen.resource)
        for seen in view.buckets
        if isinstance(seen.resource, Bucket)
    }
    found = {
        _claim(seen.resource): frozenset((seen.claim, each) for each in places.get(seen.bucket, ()))
        for seen in view.usecases
        if isinstance(seen.resource, Usecase)
    }
    return {claim: spots for claim, spots in found.items() if spots}


def places_of(bucket: Bucket) -> frozenset[str]:
    """Where `bucket` keeps objects, once per endpoint; none where no other namespace can reach."""
    spec, tail = bucket.spec, "" if bucket.spec.prefix is None else f"/{bucket.spec.prefix}"
    endpoints = [_normal(endpoint) for endpoint in spec.endpoints or ()]
    if spec.s3 is not None:
        name = spec.s3.bucket  # unique among all of Amazon's regions, where no endpoint is given
        return frozenset(f"{each}/{name}{tail}" for each in endpoints or ["s3:/"])
    return frozenset(f"{each}{tail}" for each in endpoints)


def _normal(endpoint: str) -> str:
    scheme, _, host = endpoint.lower().partition("://")
    return f"{scheme}://{host.removesuffix(':443' if scheme == 'https' else ':80')}"


def _claim(usecase: Usecase) -> Claim:
    created = usecase.metadata.creation_timestamp
    age = 0.0 if created is None else created.timestamp()
    return Claim(created is None, age, usecase.metadata.key)


def _namespace(claim: Claim) -> str:
    return claim.usecase.partition("/")[0]


def contested(views: Mapping[str, View]) -> dict[str, dict[str, str]]:
    """By namespace, what `Claims.losers` says of `views` alone."""
    claims = Claims()
    for view in views.values():
        claims.update(view)
    return {namespace: claims.losers(namespace) for namespace in views}
