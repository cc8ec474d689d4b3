"""The lifecycle rules of a bucket: those it has, and those by which an engine deletes by itself
what has expired. Pure.

Ours have IDs of their own and go by the tag of a lifespan, below the Bucket's prefix. The rules of
others are kept as the store told them, whatever is in them.
"""

from collections.abc import Container, Iterable, Iterator
from hashlib import sha256
from math import inf
from typing import Literal, NamedTuple
from xml.etree.ElementTree import Element, tostring
from xml.sax.saxutils import escape

from pannier_gateway.config.model import UsecaseConfig
from pannier_gateway.stores.s3.answers import NotXml, parsed, said
from pannier_gateway.stores.s3.lifespans import LIFESPANS, TAG, days_kept, tag_value

OURS = "pannier-"
ROOT = "LifecycleConfiguration"
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
UNFINISHED_DAYS = 7  # that an upload in parts may take
HARMLESS_DAYS = 36_500
LONGEST_ID = 255
SECONDS_A_DAY = 86_400


class Rule(NamedTuple):
    """One rule. `xml` is the element, as the store told it or as it is to be told."""

    id: str
    xml: str

    @property
    def meaning(self) -> str:
        """The same for elements that differ in order, blanks and empty parts alone."""
        return meaning(parsed(self.xml.encode()))


Rules = tuple[Rule, ...]
NO_RULES: Rules = ()


class OurRule(NamedTuple):
    """A rule of the gateway's; `optional` where an engine may well do without."""

    id: str
    told: str
    filter: str
    action: Literal["Expiration", "AbortIncompleteMultipartUpload"]
    days: int
    optional: bool = False

    @property
    def rule(self) -> Rule:
        return self._written("Enabled", self.days)

    @property
    def harmless(self) -> Rule:
        """The same to try out: it does nothing, nor would it for a century if it did."""
        return self._written("Disabled", HARMLESS_DAYS)

    def _written(self, status: str, days: int) -> Rule:
        count = "Days" if self.action == "Expiration" else "DaysAfterInitiation"
        return Rule(
            self.id,
            f"<Rule><ID>{escape(self.id)}</ID><Filter>{self.filter}</Filter>"
            f"<Status>{status}</Status>"
            f"<{self.action}><{count}>{days}</{count}></{self.action}></Rule>",
        )


class Difference(NamedTuple):
    """A rule that is `missing`, or that is `other` than it should be."""

    kind: Literal["missing", "other"]
    ours: OurRule


class Plan(NamedTuple):
    """What is there, and the rules of ours that are to be written."""

    current: Rules
    differences: tuple[Difference, ...]

    @property
    def pressing(self) -> bool:
        """Whether anything differs that no engine should do without."""
        return not all(each.ours.optional for each in self.differences)

    @property
    def necessary(self) -> "Plan":
        """Without what an engine may do without."""
        left = (each for each in self.differences if not each.ours.optional)
        return Plan(self.current, tuple(left))

    @property
    def rules(self) -> Rules:
        """All that are to be there in the end."""
        return self._with(each.ours.rule for each in self.differences)

    @property
    def rehearsal(self) -> Rules:
        """The same, with ours so that they do nothing."""
        return self._with(each.ours.harmless for each in self.differences)

    def withdrawn(self, now: Rules) -> Rules:
        """The rules of `now`, where ours are as they were. One that has lost its ID is of ours:
        others' are told with the one that a store gives them."""
        ours = {each.ours.id for each in self.differences}
        before = {each.meaning for each in self.current}
        kept = [e for e in now if e.meaning in before or e.id not in {"", *ours}]
        there = {each.id for each in kept}
        return (*kept, *(e for e in self.current if e.id in ours - there))

    def _with(self, written: Iterable[Rule]) -> Rules:
        ours = {each.id: each for each in written}
        there = [ours.pop(each.id, each) for each in self.current]
        return (*there, *ours.values())


def plan(current: Rules, prefix: str, usecases: Iterable[UsecaseConfig], *, tagged: bool) -> Plan:
    """What is to be written so that the engine deletes what the usecases of a Bucket let expire.

    `prefix` is that of their keys, `tagged` whether objects get tags. Nothing is ever taken away:
    there may be objects from when a policy was another one, and rules of other Buckets.
    """
    there = {each.id: each.meaning for each in current}
    longest = max(map(longest_lifetime, usecases), default=0.0)
    wanted = [
        *(each for each in expiring(prefix, longest, there) if tagged),
        unfinished(prefix),
    ]
    differences = (
        Difference("other" if each.id in there else "missing", each)
        for each in wanted
        if there.get(each.id) != each.rule.meaning
    )
    return Plan(current, tuple(differences))


def expiring(prefix: str, longest: float, there: Container[str]) -> Iterator[OurRule]:
    """A rule for each lifespan that a lifetime of up to `longest` seconds may need, and for those
    that have one `there`."""
    shorter = 0
    for days in LIFESPANS:
        rule = expiring_after(prefix, days)
        if shorter * SECONDS_A_DAY < longest or rule.id in there:
            yield rule
        shorter = days


def expiring_after(prefix: str, days: int) -> OurRule:
    """The rule of one lifespan."""
    value, kept = tag_value(days), days_kept(days)
    tag = f"<Tag><Key>{TAG}</Key><Value>{value}</Value></Tag>"
    return OurRule(
        id=named(value, prefix),
        told=f"deletes what is tagged {TAG}={value}, {kept} days after it was written",
        filter=f"<And>{prefixed(prefix)}{tag}</And>" if prefix else tag,
        action="Expiration",
        days=kept,
    )


def unfinished(prefix: str) -> OurRule:
    """The rule for uploads that nobody will finish; they have no tags yet."""
    return OurRule(
        id=named("uploads", prefix),
        told=f"aborts uploads that are unfinished after {UNFINISHED_DAYS} days",
        filter=prefixed(prefix),
        action="AbortIncompleteMultipartUpload",
        days=UNFINISHED_DAYS,
        optional=True,
    )


def longest_lifetime(usecase: UsecaseConfig) -> float:
    """Seconds that an object of this usecase may be given; 0 where none expires."""
    default = usecase.expiration.after or 0
    if usecase.allowed_expirations is None:
        return inf
    bounds = (
        inf if each.max_after is None else each.max_after
        for each in usecase.allowed_expirations
        if each.policy != "Manual"
    )
    return max([default, *bounds])


def heedless(rules: Rules, prefix: str) -> list[str]:
    """Those that delete under `prefix` whatever the gateway knows of it, by their IDs."""
    return [each.id or "without an ID" for each in rules if deletes_untagged(each, prefix)]


def deletes_untagged(rule: Rule, prefix: str) -> bool:
    element = parsed(rule.xml.encode())
    there = next((each.text or "" for each in element.iter("Prefix")), "")
    times = {each.tag for each in element.iterfind("Expiration/*")} & {"Days", "Date"}
    untagged = next(element.iter("Tag"), None) is None
    met = there.startswith(prefix) or prefix.startswith(there)
    return bool(said(element, "Status") == "Enabled" and times and untagged and met)


def read(text: bytes) -> Rules:
    """The rules that a store tells of. Raises NotXml."""
    root = parsed(text)
    if root.tag != ROOT:
        raise NotXml(f"<{root.tag}> where lifecycle rules should be")
    return tuple(Rule(said(each, "ID"), alone(each)) for each in root.iterfind("Rule"))


def document(rules: Rules) -> bytes:
    """What a store is told."""
    inside = "".join(each.xml for each in rules)
    return f'<{ROOT} xmlns="{NAMESPACE}">{inside}</{ROOT}>'.encode()


def same(some: Rules, others: Rules) -> bool:
    """Whether they mean the same, in whatever order."""
    return sorted(each.meaning for each in some) == sorted(each.meaning for each in others)


def meaning(element: Element) -> str:
    """Empty for what says nothing. Some engines tell the conditions of a filter without `And`."""
    inside = "".join(sorted(map(meaning, element)))
    if element.tag == "And":
        return inside
    text = (element.text or "").strip()
    return f"<{element.tag}>{escape(text)}{inside}</{element.tag}>" if text or inside else ""


def alone(element: Element) -> str:
    element.tail = None
    return tostring(element, encoding="unicode")


def named(what: str, prefix: str) -> str:
    """The ID of a rule of ours: each prefix has its own, so that Buckets do not meet."""
    name = f"{OURS}{what}/{prefix}".rstrip("/")
    return (
        name if len(name) <= LONGEST_ID else f"{OURS}{what}/{sha256(prefix.encode()).hexdigest()}"
    )


def prefixed(prefix: str) -> str:
    return f"<Prefix>{escape(prefix)}</Prefix>"
