"""What is told to whoever asks `kubectl describe`: an Event when `Ready` changes, and only then."""

from datetime import datetime
from uuid import uuid4

from pannier_operator.api import EVENTS, FIELD_MANAGER, Json
from pannier_operator.conditions import Reason, Type, changed, shortened
from pannier_operator.world import Seen

_QUIET = frozenset({Reason.READY, Reason.SUSPENDED})  # as somebody wanted it


def event(seen: Seen, after: Json, instance: str, now: datetime) -> Json | None:
    """The Event to make of the change to status `after`; None where there is nothing to tell.

    That a new resource is ready is no news.
    """
    news = [each for each in changed(seen.status, after) if each["type"] == Type.READY]
    if not news or (not seen.status.get("conditions") and news[0]["reason"] == Reason.READY):
        return None
    return _event(seen, news[0], instance, now)


def _event(seen: Seen, ready: Json, instance: str, now: datetime) -> Json:
    name = f"{seen.name[:200]}.{uuid4().hex[:16]}"
    return EVENTS.object(seen.metadata.namespace, name) | {
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": f"pannier.dev/{FIELD_MANAGER}",
        "reportingInstance": instance[:128],
        "action": "Reconcile",
        "reason": ready["reason"],
        "type": "Normal" if ready["reason"] in _QUIET else "Warning",
        "note": shortened(ready["message"]),
        "regarding": {
            "apiVersion": seen.kind.api_version,
            "kind": seen.kind.kind,
            "namespace": seen.metadata.namespace,
            "name": seen.name,
            "uid": seen.metadata.uid,
        },
    }
