"""Who may touch what: the rules, and the file that they are in."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.errors import NotPermitted
from pannier_gateway.settings import SettingsError
from pannier_gateway.tls.clients import Client, Clients, lifetime_of, read_clients

RULES = Clients(
    (
        Client("spiffe://prod/ns/shop/sa/web", ("attachments", "thumbnails")),
        Client("spiffe://prod/ns/batch/*", ("reports",)),
        Client("*.ops.svc", ("*",)),
        Client("build.svc", ("caches",)),
    )
)
NEW_YEAR = 1_767_225_600  # 2026, in seconds since the epoch


def shown(*names: tuple[str, str]) -> dict[str, object]:
    return {"subject": ((("commonName", "root.ops.svc"),),), "subjectAltName": names}


@pytest.mark.parametrize(
    ("name", "usecase", "may"),
    [
        (("URI", "spiffe://prod/ns/shop/sa/web"), "attachments", True),
        (("URI", "spiffe://prod/ns/shop/sa/web"), "reports", False),
        (("URI", "spiffe://prod/ns/shop/sa/web2"), "attachments", False),
        (("URI", "spiffe://test/ns/shop/sa/web"), "attachments", False),
        (("URI", "spiffe://prod/ns/batch/sa/x"), "reports", True),
        (("URI", "spiffe://prod/ns/batch"), "reports", False),
        (("URI", "spiffe://prod/ns/batch2/sa/x"), "reports", False),
        (("DNS", "a.ops.svc"), "anything", True),
        (("DNS", "a.b.ops.svc"), "anything", False),
        (("DNS", "ops.svc"), "anything", False),
        (("DNS", "build.svc"), "caches", True),
        (("DNS", "A.Ops.SVC"), "anything", True),
        (("DNS", "Build.svc"), "caches", True),
        (("URI", "spiffe://prod/ns/shop/sa/WEB"), "attachments", False),
        (("URI", "spiffe://x.ops.svc"), "anything", False),
        (("URI", "build.svc"), "caches", False),
        (("DNS", "spiffe://prod/ns/shop/sa/web"), "attachments", False),
        (("DNS", "spiffe://prod/ns/batch/sa/x"), "reports", False),
        (("email", "build.svc"), "caches", False),
        (("IP Address", "build.svc"), "caches", False),
    ],
)
def test_a_name_opens_what_its_rule_says(name: tuple[str, str], usecase: str, may: bool) -> None:
    if may:
        RULES.check(shown(("DNS", "unknown"), name), usecase)
    else:
        with pytest.raises(NotPermitted, match=usecase):
            RULES.check(shown(name), usecase)


LABELS = st.text("abXY09-", min_size=1, max_size=4)
HOSTS = st.lists(LABELS, min_size=2, max_size=4).map(".".join)
URIS = st.builds("spiffe://{}/{}".format, HOSTS, LABELS)


@given(identity=st.one_of(HOSTS, HOSTS.map("*.{}".format)), label=LABELS)
def test_the_name_of_a_host_opens_to_hosts_alone(identity: str, label: str) -> None:
    client = Client(identity, ("*",))
    name = identity.replace("*", label)

    assert client.is_one_of([("DNS", name)])
    assert client.is_one_of([("DNS", name.swapcase())])
    for uri in (name, f"spiffe://{name}", f"spiffe://d/{name}"):
        assert not client.is_one_of([("URI", uri)])


@given(uri=URIS, label=LABELS)
def test_a_uri_opens_to_that_uri_alone(uri: str, label: str) -> None:
    below = f"{uri}/{label}"

    assert Client(uri, ("*",)).is_one_of([("URI", uri)])
    assert not Client(uri, ("*",)).is_one_of([("URI", below), ("DNS", uri)])
    assert Client(f"{uri}/*", ("*",)).is_one_of([("URI", below)])
    assert not Client(f"{uri}/*", ("*",)).is_one_of([("URI", uri), ("DNS", below)])


def test_a_certificate_without_names_opens_nothing() -> None:
    for certificate in ({}, shown()):
        with pytest.raises(NotPermitted, match="without a name"):
            RULES.check(certificate, "attachments")


@pytest.mark.parametrize(("left", "seconds"), [(-1, -1), (9, 9), (299, 299), (10**6, 300)])
def test_a_connection_lasts_no_longer_than_its_certificate_and_five_minutes_at_most(
    left: int, seconds: float
) -> None:
    assert lifetime_of({"notAfter": "Jan  1 00:00:00 2026 GMT"}, NEW_YEAR - left) == seconds


def test_rules_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "clients.yaml"
    file.write_text("clients:\n- identity: a.svc\n  usecases: [one, two]\n")

    assert read_clients(file) == Clients((Client("a.svc", ("one", "two")),))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expected `object`"),
        ("clients: {}", "Expected `array`"),
        ("clients: [{identity: a}]", "missing required field `usecases`"),
        ("clients: [{identity: a, usecases: [], usecase: b}]", "unknown field `usecase`"),
        ("clients: [{identity: 'a*', usecases: []}]", r"'\*' stands behind"),
        ("clients: [{identity: '*', usecases: []}]", r"'\*' stands behind"),
        ("clients: [{identity: 'spiffe://*/ns', usecases: []}]", r"'\*' stands behind"),
        ("clients: [", "expected the node content"),
        ("clients: [{identity: a, usecases: [2024-13-45]}]", "month must be in"),
    ],
)
def test_a_file_that_can_not_be_used_says_why(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "clients.yaml"
    file.write_text(text)

    with pytest.raises(SettingsError, match=said):
        read_clients(file)
    with pytest.raises(SettingsError, match="No such file"):
        read_clients(tmp_path / "none")
