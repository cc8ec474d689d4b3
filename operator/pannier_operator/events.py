"""What is told to whoever asks `kubectl describe`: changes of `Ready`, and that room runs out."""

from datetime import datetime
from uuid import uuid4

from pannier_operator.api import EVENTS, FIELD_MANAGER, Json
from pannier_operator.conditions import Reason, Type, changed, shortened
from pannier_operator.configmap import LIMIT_BYTES
from pannier_operator.world import Seen

NEARLY_FULL = "ConfigNearlyFull"
_QUIET = frozenset({Reason.READY, Reason.SUSPENDED})  # as somebody wanted it


def event(seen: Seen, after: Json, instance: str, now: datetime) -> Json | None:
    """The Event to make of the change to status `after`; None where there is nothing to tell.

    That a new resource is ready is no news.
    """
    news = [each for each in changed(seen.status, after) if each["type"] == Type.READY]
    if not news or (not seen.status.get("conditions") and news[0]["reason"] == Reason.READY):
        return None
    reason, note = news[0]["reason"], news[0]["message"]
    kind = "Normal" if reason in _QUIET else "Warning"
    return _event(_regarding(seen), kind, reason, note) | _source(instance, now)


def repeated(news: Json) -> Json:
    """`news` by the name that it always has for its object: made again, it is refused (409)."""
    metadata, about = news["metadata"], news["regarding"]
    return news | {"metadata": metadata | {"name": _name(about["name"], about["uid"])}}


def nearly_full(config_map: Json, size: int, instance: str, now: datetime) -> Json:
    """The Event to make of a ConfigMap, as it was just written, that has no room for much more."""
    note = (
        f"the configuration of the namespace has {size:,} bytes; beyond {LIMIT_BYTES:,} changes are"
        " refused: move usecases to another namespace in time"
    )
    return _event(config_map, "Warning", NEARLY_FULL, note) | _source(instance, now)


def _regarding(seen: Seen) -> Json:
    metadata = seen.metadata
    return seen.kind.object(metadata.namespace, seen.name, uid=metadata.uid)


def _event(regarding: Json, kind: str, reason: str, note: str) -> Json:
    metadata = regarding["metadata"]
    named = {key: metadata[key] for key in ("namespace", "name", "uid")}
    name = _name(metadata["name"], uuid4().hex[:16])
    return EVENTS.object(metadata["namespace"], name) | {
        "action": "Reconcile",
        "reason": reason,
        "type": kind,
        "note": shortened(note),
        "regarding": {key: regarding[key] for key in ("apiVersion", "kind")} | named,
    }


def _name(regarding: str, mark: str) -> str:
    return f"{regarding[:200].rstrip('.-')}.{mark}"


def _source(instance: str, now: datetime) -> Json:
    return {
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": f"pannier.dev/{FIELD_MANAGER}",
        "reportingInstance": instance[:128],
    }
