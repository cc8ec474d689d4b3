"""A Bucket of type Upstream as a store: what the server is taken for, tokens, refusals, paths."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier.protocol.names import Scopes, storage_prefix
from pannier.protocol.target import parse_target
from pannier_gateway.config.model import BucketConfig, ResilienceConfig, UpstreamConfig
from pannier_gateway.errors import (
    BadRequest,
    NotOffered,
    ObjectNotFound,
    PannierError,
    StoreBusy,
    StoreFull,
    StoreMisanswered,
    StoreRefused,
    StoreTimedOut,
    StoreUnavailable,
)
from pannier_gateway.stores.base import Listing
from pannier_gateway.stores.secrets import MountedSecrets
from pannier_gateway.stores.upstream import opened
from pannier_gateway.stores.upstream.refusals import NotServed, refused
from pannier_gateway.stores.upstream.targets import listing_target, place_of, target_of
from pannier_gateway.stores.upstream.token import BearerToken
from pannier_gateway.tls.trust import Trusts
from support.engines import provision
from support.jumps import turns
from support.scripted import answer, serving

NO_TOKEN = UpstreamConfig()
UPSTREAM = UpstreamConfig(token_secret="hub", token_key="token")
OK = answer("200 OK", b"OK")
A_GATEWAY = answer("200 OK", b"OK", "x-pannier-record: 1")


def config(*endpoints: str, upstream: UpstreamConfig = NO_TOKEN) -> BucketConfig:
    return BucketConfig(
        namespace="ns",
        name="n",
        type="Upstream",
        access="ReadWrite",
        deletion_policy="Retain",
        endpoints=endpoints,
        upstream=upstream,
        resilience=ResilienceConfig(),
    )


async def test_the_certificates_of_each_endpoint_are_shown_apart(tmp_path: Path) -> None:
    bucket = config("https://a.example", "https://b.example:8652")
    trusts = Trusts()
    async with opened(bucket, MountedSecrets(tmp_path), trusts, provision()):
        assert set(trusts.in_use) == {"ns/n at a.example:443", "ns/n at b.example:8652"}


@pytest.mark.parametrize(
    ("health", "said"),
    [(A_GATEWAY, "every promise"), (OK, "no gateway: conditional writes and lists are refused")],
    ids=["a gateway", "another"],
)
async def test_a_server_is_asked_once_what_it_is(tmp_path: Path, health: bytes, said: str) -> None:
    with serving((health, health)) as server:
        secrets = MountedSecrets(tmp_path)
        async with opened(config(server.url), secrets, Trusts(), provision()) as store:
            assert "not asked yet" in str(store)
            await store.find_out()
            await store.find_out()
            assert said in str(store)
        await turns()

    assert [each.target for each in server.requests] == ["/health"]
    assert server.request.headers["host"] == urlsplit(server.url).netloc


async def test_who_has_not_found_the_gateway_does_not_tell_that_there_is_no_object(
    tmp_path: Path,
) -> None:
    with serving((A_GATEWAY, *[answer("404 Not Found")] * 3)) as server:
        secrets = MountedSecrets(tmp_path)
        async with opened(config(server.url), secrets, Trusts(), provision()) as store:
            for ask in (store.head, store.delete):
                with pytest.raises(NotServed, match="check endpoints"):
                    await ask("shared/objects/k")
            with pytest.raises(NotServed):
                async with store.open("shared/objects/k"):
                    pass
        await turns()


@pytest.mark.parametrize(
    "told", [answer("404 Not Found"), answer("200 OK", b"<html>please log in</html>")]
)
async def test_what_has_no_health_is_no_objectstore(tmp_path: Path, told: bytes) -> None:
    with serving(told) as server:
        secrets = MountedSecrets(tmp_path)
        async with opened(config(server.url), secrets, Trusts(), provision()) as store:
            with pytest.raises(StoreMisanswered, match="no objectstore"):
                await store.head("shared/objects/k")
        await turns()


async def test_the_token_of_the_secret_goes_with_every_request(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "token").write_text("abc.def\n")
    with serving((A_GATEWAY, answer("404 Not Found", b"", "x-pannier-record: absent"))) as server:
        secrets = MountedSecrets(tmp_path)
        async with opened(
            config(server.url, upstream=UPSTREAM), secrets, Trusts(), provision()
        ) as store:
            with pytest.raises(ObjectNotFound):
                await store.head("shared/objects/k")
        await turns()

    assert {each.headers["authorization"] for each in server.requests} == {"Bearer abc.def"}


@pytest.mark.parametrize(
    ("name", "key"),
    [("..", "file"), (".", "file"), ("hub/..", "file"), ("hub", "../file"), ("hub", "a\0b")],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str, key: str) -> None:
    (tmp_path / "mounted" / "hub").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "mounted"):
        (folder / "file").write_text("not a Secret's")

    with pytest.raises(StoreRefused, match="no Secret is called"):
        MountedSecrets(tmp_path / "mounted").read(name, key)


def test_no_path_is_taken_for_a_key(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of the pod itself")

    with pytest.raises(StoreRefused, match="no Secret is called"):
        MountedSecrets(tmp_path / "mounted").read("hub", str(tmp_path / "token"))


def test_a_token_is_read_again_and_a_bad_one_leaves_the_last_in_force(tmp_path: Path) -> None:
    now = 0.0
    (tmp_path / "hub").mkdir()
    file = tmp_path / "hub" / "token"
    token = BearerToken(MountedSecrets(tmp_path), "hub", "token", lambda: now)
    for bad in ("", "two\nlines", "é"):
        file.write_text(bad)
        with pytest.raises(StoreRefused, match="no token"):
            token.headers()

    shown = []
    for text in ("one", "two", "", "three"):
        file.write_text(text)
        shown.append(token.headers()["authorization"])
        now += 1.0
    file.write_text("four")
    now -= 0.5

    assert shown == ["Bearer one", "Bearer two", "Bearer two", "Bearer three"]
    assert token.headers() == {"authorization": "Bearer three"}


@pytest.mark.parametrize(
    ("status", "wait", "kind"),
    [
        (400, None, BadRequest),
        (401, None, StoreRefused),
        (403, None, StoreRefused),
        (404, None, NotServed),
        (405, None, NotOffered),
        (418, None, StoreMisanswered),
        (301, None, StoreMisanswered),
        (429, None, StoreBusy),
        (429, 7.0, StoreBusy),
        (500, None, StoreUnavailable),
        (501, None, NotOffered),
        (502, None, StoreRefused),
        (503, None, StoreUnavailable),
        (503, 2.0, StoreBusy),
        (504, None, StoreTimedOut),
        (507, None, StoreFull),
    ],
)
def test_a_refusal_is_the_error_that_it_means(
    status: int, wait: float | None, kind: type[PannierError]
) -> None:
    error = refused("Bucket ns/n (at there)", status, wait, b'{"detail": "because"}')

    assert type(error) is kind
    assert kind is StoreFull or ("because" in str(error) and "ns/n" in str(error))
    assert not isinstance(error, StoreBusy) or error.wait == wait


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>"])
def test_a_proxy_before_a_server_that_starts_anew_is_asked_again(body: bytes) -> None:
    assert type(refused("there", 502, None, body)) is StoreUnavailable


LATER = "retry-after: Wed, 21 Oct 2099 07:28:00 GMT"
BY_A_HUB = b"HTTP/1.1 502 Bad\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n"


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (answer("429 Too Many Requests", b"", LATER), StoreBusy),
        (answer("503 Service Unavailable", b"", LATER), StoreBusy),
        (answer("502 Bad Gateway"), StoreUnavailable),
        (BY_A_HUB, StoreRefused),
    ],
)
async def test_what_answers_head_is_told_by_its_headers(
    tmp_path: Path, told: bytes, kind: type[PannierError]
) -> None:
    with serving((A_GATEWAY, told)) as server:
        secrets = MountedSecrets(tmp_path)
        async with opened(config(server.url), secrets, Trusts(), provision()) as store:
            with pytest.raises(PannierError) as refusal:
                await store.head("shared/objects/k")
        await turns()

    assert type(refusal.value) is kind
    assert not isinstance(refusal.value, StoreBusy) or (refusal.value.wait or 0) > 3600


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b'{"detail": 1}', b"[]"])
def test_a_refusal_in_other_words_is_shown_as_it_is(body: bytes) -> None:
    assert "refuses (403)" in str(refused("there", 403, None, body))


WORDS = st.text("abcXYZ019_-()$!+'", min_size=1, max_size=8)
SCOPES = st.lists(st.tuples(WORDS, WORDS), max_size=3).map(lambda pairs: Scopes(tuple(pairs)))
USECASES = st.just("objects") | st.from_regex("[A-Za-z0-9_-]{3,20}", fullmatch=True)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
KEYS = st.sampled_from(["objects/", "/objects/", "a/objects/b", "../x", "a.b/objects/"]) | TEXT


@given(USECASES, SCOPES, KEYS)
def test_a_path_is_asked_for_where_it_came_from(usecase: str, scopes: Scopes, key: str) -> None:
    path = storage_prefix(usecase, scopes) + key

    found = parse_target(target_of(path, "team/"))

    assert place_of(path) == (usecase, scopes, key)
    assert found == (usecase, scopes, f"team/{key}", {})


@given(USECASES, SCOPES, KEYS, KEYS, st.sampled_from(["", "/", "é&="]))
def test_a_listing_is_asked_for_as_it_is_meant(
    usecase: str, scopes: Scopes, prefix: str, after: str, delimiter: str
) -> None:
    base = storage_prefix(usecase, scopes)

    found = parse_target(listing_target(Listing(base + prefix, base + after, 7, delimiter), ""))

    assert found is not None
    assert found[:3] == (usecase, scopes, None)
    given = {"prefix": prefix, "start_after": after, "limit": "7", "delimiter": delimiter}
    assert found.query == {name: text for name, text in given.items() if text}


@pytest.mark.parametrize("path", ["", "a", "shared/k", "sh/objects/k", "shared/org/objects/k"])
def test_a_path_that_no_usecase_has_is_no_target(path: str) -> None:
    with pytest.raises(BadRequest, match="no path of a usecase"):
        target_of(path, "")
