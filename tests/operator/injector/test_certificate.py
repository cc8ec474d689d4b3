from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address

import pytest
from cryptography.x509 import DNSName
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier_operator.injector.certificate import (
    CA_LIFETIME,
    LIFETIME,
    OVERLAP,
    Kept,
    Unreadable,
    certificates,
    names_of,
    pair,
    pem,
    pem_of_key,
    renewed,
    signed,
)
from pannier_operator.injector.rotation import packed, unpacked

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HOST = "pannier-injector.pannier-system.svc"
NAMES = (HOST, "127.0.0.1")
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def believed(kept: Kept, bundle: bytes, now: datetime) -> bool:
    """Whether a client that trusts `bundle` believes what is served."""
    trust = Store(certificates(bundle))
    verifier = PolicyBuilder().store(trust).time(now).build_server_verifier(DNSName(HOST))
    try:
        verifier.verify(kept.serving.certificate, [])
    except VerificationError:
        return False
    return True


@pytest.fixture(scope="module")
def first() -> Kept:
    return renewed(None, NAMES, BEGIN)


def test_from_nothing_all_is_made_at_once_and_fits_together(first: Kept) -> None:
    assert believed(first, first.bundle, BEGIN)
    assert names_of(first.serving.certificate) == set(NAMES)
    assert renewed(first, NAMES, BEGIN) is first


@settings(max_examples=10)
@given(st.ip_addresses(v=6))
def test_an_address_is_the_same_however_it_is_written(address: IPv6Address) -> None:
    names = (HOST, address.exploded.upper())
    kept = renewed(None, names, BEGIN)

    assert renewed(kept, names, BEGIN) is kept


def test_two_thirds_through_its_life_a_certificate_is_made_anew_by_the_same_ca(first: Kept) -> None:
    early, late = BEGIN + LIFETIME * 0.66, BEGIN + LIFETIME * 0.67

    assert renewed(first, NAMES, early) is first
    second = renewed(first, NAMES, late)
    assert second.bundle == first.bundle
    assert second.serving.end == (late + LIFETIME).replace(microsecond=0)


def test_other_names_make_another_certificate(first: Kept) -> None:
    other = renewed(first, (HOST, "elsewhere"), BEGIN + OVERLAP)

    assert names_of(other.serving.certificate) == {HOST, "elsewhere"}
    assert other.ca == first.ca


def test_a_new_ca_is_trusted_before_it_signs(first: Kept) -> None:
    late = BEGIN + CA_LIFETIME * 0.67
    kept = Kept(ca=first.ca, serving=signed(first.ca, NAMES, late))

    second = renewed(kept, NAMES, late)
    assert second.serving == kept.serving
    assert certificates(second.bundle) == [second.ca.certificate, kept.ca.certificate]
    assert renewed(second, NAMES, late + OVERLAP - MINUTE) is second

    third = renewed(second, NAMES, late + OVERLAP)
    assert third.serving.certificate.issuer == second.ca.certificate.subject
    assert third.bundle == second.bundle


def test_a_ca_that_has_ended_is_forgotten_with_the_next(first: Kept) -> None:
    kept = first
    now = BEGIN
    for _ in range(4):
        now += CA_LIFETIME * 0.67
        kept = Kept(ca=kept.ca, older=kept.older, serving=signed(kept.ca, NAMES, now))
        kept = renewed(kept, NAMES, now)

    assert len(kept.older) == 1


def test_after_a_long_sleep_all_is_new(first: Kept) -> None:
    now = BEGIN + CA_LIFETIME + DAY

    awake = renewed(first, NAMES, now)

    assert awake.older == ()
    assert believed(awake, awake.bundle, now)


@settings(max_examples=10)
@given(st.lists(st.integers(1, 40), min_size=10, max_size=25))
def test_however_often_it_is_looked_after_whoever_trusts_the_last_bundle_believes_what_is_served(
    days: list[int],
) -> None:
    now, kept = BEGIN, renewed(None, NAMES, BEGIN)
    for pause in days:
        before = kept.bundle  # what an API server that is behind still trusts
        now += pause * DAY
        kept = renewed(kept, NAMES, now)
        if pause < 28:  # else there was none to go on from
            assert believed(kept, before, now)
        assert believed(kept, kept.bundle, now)


def test_the_secret_holds_all_that_is_needed(first: Kept) -> None:
    two = renewed(first, NAMES, BEGIN + CA_LIFETIME * 0.67)

    for kept in (first, two):
        again = unpacked(packed(kept))
        assert again is not None
        assert again.bundle == kept.bundle
        assert packed(again) == packed(kept)


def test_a_secret_that_holds_something_else_counts_as_empty(first: Kept) -> None:
    whole = packed(first)
    foreign = packed(renewed(None, NAMES, BEGIN))

    assert unpacked({}) is None
    for key in whole:
        assert unpacked({k: v for k, v in whole.items() if k != key}) is None
        assert unpacked({**whole, key: b"rubbish"}) is None
        if key != "ca.crt":
            assert unpacked({**whole, key: foreign[key]}) is None


def test_a_key_of_another_certificate_is_unreadable(first: Kept) -> None:
    other = renewed(None, NAMES, BEGIN)

    with pytest.raises(Unreadable, match="the key is not the certificate's"):
        pair(pem(first.serving.certificate), pem_of_key(other.serving.key))
