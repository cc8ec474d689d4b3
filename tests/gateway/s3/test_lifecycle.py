"""Which lifecycle rules a bucket should have, and what becomes of those it has."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pannier_gateway.config.model import AllowedExpiry, Expiry, UsecaseConfig
from pannier_gateway.stores.s3.answers import NotXml, parsed
from pannier_gateway.stores.s3.lifecycle import (
    NO_RULES,
    Plan,
    Rule,
    Rules,
    document,
    expiring_after,
    heedless,
    plan,
    read,
    same,
    unfinished,
)
from pannier_gateway.stores.s3.lifespans import LIFESPANS, TAG, lifespan, tag_value
from support.configs import USECASE

SECONDS_A_DAY = 86_400
PREFIXES = st.sampled_from(["", "team/a/", "-.x/", "a&b/", "x" * 256 + "/"])
TEXT = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=8)
NAMES = st.sampled_from(["Transition", "NoncurrentVersionExpiration", "Filter", "Anything"])


def element(name: str, inside: list[str], text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return f"<{name}>{''.join(inside) or escaped}</{name}>"


ELEMENTS = st.recursive(
    st.builds(element, NAMES, st.just([]), TEXT),
    lambda inside: st.builds(element, NAMES, st.lists(inside, max_size=3), TEXT),
    max_leaves=6,
)


@st.composite
def foreign_rules(draw: st.DrawFn) -> Rules:
    """Of others: with elements that the gateway knows nothing of."""
    count = draw(st.integers(0, 4))
    return tuple(
        Rule(f"theirs-{n}", f"<Rule><ID>theirs-{n}</ID>{draw(ELEMENTS)}{draw(ELEMENTS)}</Rule>")
        for n in range(count)
    )


def usecase(
    after: int | None = 30 * SECONDS_A_DAY, allowed: tuple[AllowedExpiry, ...] | None = ()
) -> UsecaseConfig:
    """One that gives `after` seconds, and lets clients ask for what is allowed; None: all."""
    given = Expiry(policy="Manual" if after is None else "TimeToLive", after=after)
    return replace(USECASE, expiration=given, allowed_expirations=allowed)


LIFETIMES = st.integers(1, LIFESPANS[-1] * SECONDS_A_DAY)
USECASES = st.lists(
    st.builds(
        usecase,
        st.none() | LIFETIMES,
        st.none()
        | st.lists(
            st.builds(
                AllowedExpiry,
                policy=st.sampled_from(["Manual", "TimeToLive", "TimeToIdle"]),
                max_after=st.none() | LIFETIMES,
            ),
            max_size=3,
        ).map(tuple),
    ),
    max_size=3,
)


def told(rules: bytes) -> Rules:
    return read(b"<LifecycleConfiguration>%s</LifecycleConfiguration>" % rules)


def text_in(rule: Rule, path: str) -> str | None:
    return parsed(rule.xml.encode()).findtext(path)


def days(rules: Rules) -> dict[str, int]:
    """After how many days each tag is deleted."""
    found = {}
    for each in rules:
        value = next(parsed(each.xml.encode()).iter("Value"), None)
        if value is not None:
            found[value.text or ""] = int(text_in(each, "Expiration/Days") or 0)
    return found


def ids(planned: Plan) -> set[str]:
    return {each.ours.id for each in planned.differences}


# Never too early, and not never


@given(PREFIXES, USECASES, LIFETIMES)
def test_no_object_is_deleted_before_it_ends(
    prefix: str, usecases: list[UsecaseConfig], lifetime: int
) -> None:
    rules = plan(NO_RULES, prefix, usecases, tagged=True).rules

    tag = tag_value(lifespan(lifetime * 1_000_000) or 0)
    assert days(rules).get(tag, inf) * SECONDS_A_DAY >= lifetime


@given(PREFIXES, LIFETIMES, LIFETIMES)
def test_whatever_a_usecase_lets_expire_is_deleted(prefix: str, longest: int, asked: int) -> None:
    lifetime = min(longest, asked)
    bounded = usecase(None, (AllowedExpiry(policy="TimeToIdle", max_after=longest),))

    for each in (bounded, usecase(longest)):
        planned = plan(NO_RULES, prefix, [each], tagged=True)
        assert tag_value(lifespan(lifetime * 1_000_000) or 0) in days(planned.rules)


@given(foreign_rules(), PREFIXES, USECASES)
def test_every_rule_of_ours_that_deletes_goes_by_the_tag_and_the_prefix(
    current: Rules, prefix: str, usecases: list[UsecaseConfig]
) -> None:
    planned = plan(current, prefix, usecases, tagged=True)

    for each in (*planned.rules, *planned.rehearsal):
        if each.id not in {rule.id for rule in current} and text_in(each, "Expiration/Days"):
            place = "Filter/And/" if prefix else "Filter/"
            assert text_in(each, f"{place}Tag/Key") == TAG
            assert (text_in(each, f"{place}Prefix") or "") == prefix


@given(PREFIXES, USECASES)
def test_a_rehearsal_does_nothing(prefix: str, usecases: list[UsecaseConfig]) -> None:
    planned = plan(NO_RULES, prefix, usecases, tagged=True)

    assert {text_in(each, "Status") for each in planned.rehearsal} == {"Disabled"}
    assert set(days(planned.rehearsal).values()) <= {36_500}
    shapes = [[e.tag for e in parsed(r.xml.encode()).iter()] for r in planned.rehearsal]
    assert shapes == [[e.tag for e in parsed(r.xml.encode()).iter()] for r in planned.rules]


# What is there


@given(foreign_rules(), PREFIXES, USECASES)
def test_rules_of_others_stay_as_they_are(
    current: Rules, prefix: str, usecases: list[UsecaseConfig]
) -> None:
    planned = plan(current, prefix, usecases, tagged=True)

    for rules in (planned.rules, planned.rehearsal):
        told = read(document(rules))
        assert same(told[: len(current)], current)
        assert told[: len(current)] == read(document(current))


@given(foreign_rules(), PREFIXES, USECASES)
def test_what_is_written_leaves_nothing_to_do(
    current: Rules, prefix: str, usecases: list[UsecaseConfig]
) -> None:
    written = read(document(plan(current, prefix, usecases, tagged=True).rules))

    again = plan(written, prefix, usecases, tagged=True)

    assert again.differences == ()
    assert same(again.rules, written)


@given(foreign_rules(), foreign_rules(), PREFIXES)
def test_what_is_taken_back_was_never_there(current: Rules, late: Rules, prefix: str) -> None:
    other = expiring_after(prefix, 7)._replace(days=99).rule
    planned = plan((*current, other), prefix, [usecase()], tagged=True)
    added = tuple(Rule(f"late-{each.id}", each.xml) for each in late)

    for stage in (planned.rehearsal, planned.rules):
        assert same(planned.withdrawn(stage), planned.current)
        assert same(planned.withdrawn((*stage, *added)), (*planned.current, *added))


def test_a_rule_that_lost_its_id_is_taken_back_too() -> None:
    planned = plan(NO_RULES, "", [usecase()], tagged=True)
    nameless = tuple(Rule("", each.xml.replace(each.id, "")) for each in planned.rehearsal)

    assert planned.withdrawn(nameless) == NO_RULES


def test_a_rule_of_ours_that_somebody_changed_is_mended() -> None:
    ours = expiring_after("", 45)
    planned = plan((ours._replace(days=1).rule,), "", [usecase()], tagged=True)

    assert planned.differences[-2:] == (("other", ours), ("missing", unfinished("")))
    assert days(planned.rules)["45d"] == 46


def test_rules_of_other_buckets_in_the_same_one_stay() -> None:
    theirs = plan(NO_RULES, "team/b/", [usecase()], tagged=True).rules

    planned = plan(theirs, "team/a/", [usecase()], tagged=True)

    assert planned.rules[: len(theirs)] == theirs
    assert not ids(planned) & {each.id for each in theirs}


def test_what_nothing_expires_in_needs_no_rule_but_that_for_uploads() -> None:
    manual = usecase(None, (AllowedExpiry(policy="Manual"),))
    planned = plan(NO_RULES, "a/", [manual], tagged=True)

    assert ids(planned) == {"pannier-uploads/a"}
    assert not planned.pressing
    assert planned.necessary.rules == NO_RULES


def test_where_no_tags_are_kept_no_rule_goes_by_them() -> None:
    assert ids(plan(NO_RULES, "", [usecase()], tagged=False)) == {"pannier-uploads"}


def test_ids_are_no_longer_than_s3_takes_them() -> None:
    for each in plan(NO_RULES, "x" * 256 + "/", [usecase()], tagged=True).rules:
        assert len(each.id) <= 255


# What stores tell


def test_order_blanks_and_empty_parts_mean_nothing() -> None:
    one = b"<Rule><ID>a</ID><Filter><Prefix/></Filter><Status>Enabled</Status></Rule>"
    other = b"\n<Rule> <Status>Enabled</Status>\n<Filter/> <ID> a </ID></Rule>"

    assert same(told(one), told(other))
    assert not same(told(one), told(other.replace(b" a ", b"b")))


def test_all_conditions_of_a_filter_have_to_be_met_with_and_or_without() -> None:
    ours = expiring_after("team/a/", 7).rule
    flat = Rule(ours.id, ours.xml.replace("<And>", "").replace("</And>", ""))

    assert same((ours,), (flat,))
    for lost in ("<Prefix>team/a/</Prefix>", "<Value>7d</Value>"):
        assert not same((ours,), (Rule(ours.id, ours.xml.replace(lost, "")),))


@pytest.mark.parametrize("text", [b"", b"<html/>", b"{}", b"<Error/>"])
def test_what_is_no_rules_is_not_read(text: bytes) -> None:
    with pytest.raises(NotXml):
        read(text)


@pytest.mark.parametrize(
    ("inside", "told"),
    [
        ("<Filter><Prefix>team/</Prefix></Filter>", ["theirs"]),
        ("<Filter><Prefix>team/a/x</Prefix></Filter>", ["theirs"]),
        ("<Prefix></Prefix>", ["theirs"]),
        ("<Filter><Prefix>team/b</Prefix></Filter>", []),
        ("<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>", []),
    ],
)
def test_rules_of_others_that_delete_what_has_not_expired_are_told(
    inside: str, told: list[str]
) -> None:
    action = "<Expiration><Days>3</Days></Expiration>"
    xml = f"<Rule><ID>theirs</ID><Status>Enabled</Status>{inside}{action}</Rule>"

    assert heedless((Rule("theirs", xml),), "team/a/") == told
    assert heedless((Rule("theirs", xml.replace("Enabled", "Disabled")),), "team/a/") == []
    assert heedless((Rule("theirs", xml.replace(action, "")),), "team/a/") == []


def test_our_own_rules_are_not_among_them() -> None:
    ours = plan(NO_RULES, "team/a/", [usecase()], tagged=True).rules

    assert heedless(ours, "team/a/") == []
