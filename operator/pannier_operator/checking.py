"""What a cluster with the operator would make of manifests, told without one."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from pannier_gateway.config.model import GatewayConfig
from pannier_operator.claims import contested
from pannier_operator.conditions import Type, condition
from pannier_operator.plan import NOTHING, Plan, plan
from pannier_operator.publish import too_large
from pannier_operator.status import status
from pannier_operator.world import Seen, View


class Checked:
    """The outcome for a set of manifests."""

    def __init__(self, views: Mapping[str, View]) -> None:
        taken = contested(views)
        self._plans = {
            namespace: plan(view, NOTHING, taken[namespace])
            for namespace, view in sorted(views.items())
        }

    def __repr__(self) -> str:
        return f"<Checked {len(self._plans)} namespaces>"

    @property
    def configs(self) -> dict[str, GatewayConfig]:
        """By namespace, what gateways would be told."""
        return {namespace: planned.config for namespace, planned in self._plans.items()}

    @property
    def lines(self) -> list[str]:
        """One for each resource: what it is, whether it would work, why or why not."""
        return [line for planned in self._plans.values() for line, _ in _judged(planned)]

    @property
    def refused(self) -> bool:
        """Whether any resource would not be served."""
        return any(bad for planned in self._plans.values() for _, bad in _judged(planned))


def _judged(planned: Plan) -> Iterator[tuple[str, bool]]:
    failure = too_large(planned.config)
    published = NOTHING if failure else planned.config
    for each in planned.resources:
        found = status(each, planned, published, failure, datetime.now(UTC))
        line = _line(each.seen, condition(found, Type.READY))
        yield line, condition(found, Type.PROGRAMMED)["status"] != "True"


def _line(seen: Seen, ready: Mapping[str, str]) -> str:
    return f"{seen.kind.kind} {seen.key}: {ready['reason']}: {ready['message']}"
