"""What a pod may choose by annotation, and what is allowed: told once for webhook and policy."""

import re
from collections.abc import Mapping

from msgspec import Struct

PREFIX = "pannier.dev/"
INJECT = f"{PREFIX}inject"  # the label that opts in or out
INJECTED = f"{PREFIX}injected"  # the label that says which version did it

_SIZE = "^[1-9][0-9]{0,6}(Mi|Gi)$"
_NAME = "[a-z0-9]([a-z0-9.-]*[a-z0-9])?"


class Refused(Exception):
    """The pod asks for something that it cannot have; the text is for whoever made the pod."""


class Option(Struct, frozen=True, kw_only=True):
    """One annotation. `pattern` is understood alike by Python and CEL; `bounds` are inclusive."""

    name: str
    pattern: str
    bounds: tuple[int, int] | None = None
    allowed: str
    meaning: str

    @property
    def annotation(self) -> str:
        return PREFIX + self.name

    @property
    def complaint(self) -> str:
        """What is said of a value that is not allowed."""
        return f"annotation {self.annotation} must be {self.allowed}"

    def accepts(self, value: str) -> bool:
        if not re.fullmatch(self.pattern, value):
            return False
        return self.bounds is None or self.bounds[0] <= int(value) <= self.bounds[1]


OPTIONS = (
    Option(
        name="port",
        pattern="^[1-9][0-9]{0,4}$",
        bounds=(1024, 65535),
        allowed="a port from 1024 to 65535",
        meaning="where the gateway listens on 127.0.0.1",
    ),
    Option(
        name="admin-port",
        pattern="^[1-9][0-9]{0,4}$",
        bounds=(1024, 65535),
        allowed="a port from 1024 to 65535",
        meaning="where the gateway answers probes and Prometheus, on all addresses",
    ),
    Option(
        name="cpu",
        pattern="^[1-9][0-9]{0,5}m?$",
        allowed="a number of cores or millicores, like 1 or 250m",
        meaning="the gateway's CPU request, and its limit where the cluster sets one",
    ),
    Option(
        name="memory",
        pattern=_SIZE,
        allowed="a size in Mi or Gi, like 256Mi",
        meaning="the gateway's memory limit",
    ),
    Option(
        name="memory-request",
        pattern=_SIZE,
        allowed="a size in Mi or Gi, like 96Mi",
        meaning="the gateway's memory request, at most its limit",
    ),
    Option(
        name="spool-size",
        pattern=_SIZE,
        allowed="a size in Mi or Gi, like 2Gi",
        meaning="what the gateway may keep on the node: Buckets without a claim, and spooled "
        "bodies, which take half of it at most. A pod that exceeds it is evicted",
    ),
    Option(
        name="drain",
        pattern="^(0|[1-9][0-9]{0,3})$",
        bounds=(0, 3600),
        allowed="a whole number of seconds from 0 to 3600",
        meaning="how long requests in flight may take at the end, within what is left of "
        "terminationGracePeriodSeconds once the application has ended",
    ),
    Option(
        name="log-level",
        pattern="^(debug|info|warning|error)$",
        allowed="debug, info, warning or error",
        meaning="what the gateway logs",
    ),
    Option(
        name="buckets",
        pattern=rf"^([*]|{_NAME}(,{_NAME})*)$",
        allowed="* or names of Buckets with commas between them",
        meaning="whose Secrets, CA bundles and claims the gateway gets",
    ),
)
ANNOTATIONS = tuple(each.annotation for each in OPTIONS)
UNKNOWN = f"annotations {PREFIX}… there are: {', '.join(each.name for each in OPTIONS)}"
NEITHER = f'label {INJECT} must be "true" or "false"'


def chosen(annotations: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """Every option's value. Raises Refused, naming the annotation and what is allowed."""
    for annotation in annotations:
        if annotation.startswith(PREFIX) and annotation not in ANNOTATIONS:
            raise Refused(f"{UNKNOWN}; {annotation} is none of them")
    return {each.name: _value(each, annotations, defaults[each.name]) for each in OPTIONS}


def _value(option: Option, annotations: Mapping[str, str], default: str) -> str:
    value = annotations.get(option.annotation)
    if value is None:
        return default
    if not option.accepts(value):
        raise Refused(f"{option.complaint}; it is {value!r}")
    return value
