"""Signature Version 4: the published examples, and what botocore makes of any request."""

from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials as BotoCredentials  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.stores.s3.bucket import in_path, percent
from pannier_gateway.stores.s3.signing import Credentials, Signer, Unsigned

EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
SUITE = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
MAY_24 = 1_369_353_600  # 20130524T000000Z
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
HOST = {"host": "examplebucket.s3.amazonaws.com", "x-amz-content-sha256": EMPTY}

PUBLISHED = [
    (
        Unsigned("GET", "/test.txt", "", {**HOST, "range": "bytes=0-9"}),
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    (
        Unsigned(
            "PUT",
            "/test%24file.text",
            "",
            {
                "host": HOST["host"],
                "date": "Fri, 24 May 2013 00:00:00 GMT",
                "x-amz-storage-class": "REDUCED_REDUNDANCY",
                "x-amz-content-sha256": (
                    "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
                ),
            },
        ),
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    (
        Unsigned("GET", "/", "lifecycle=", HOST),
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    (
        Unsigned("GET", "/", "max-keys=2&prefix=J", HOST),
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
]
"""The examples of the API Reference of Amazon S3."""

NAMES = st.from_regex(r"x-amz-meta-[a-z0-9]{1,8}", fullmatch=True)
VALUES = st.from_regex(r"[!-~]([ -~]{0,20}[!-~])?", fullmatch=True)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


def signature(signed: dict[str, str]) -> str:
    return signed["authorization"].rpartition("Signature=")[2]


@pytest.mark.parametrize(("request_", "expected"), PUBLISHED)
def test_the_published_examples_are_signed_as_published(request_: Unsigned, expected: str) -> None:
    assert signature(Signer("us-east-1").sign(request_, EXAMPLE, MAY_24)) == expected


@given(
    st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"]),
    KEYS,
    st.dictionaries(KEYS, st.text(max_size=10).filter(str.isprintable), max_size=4),
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.integers(1_000_000_000, 2_000_000_000),
)
def test_any_request_is_signed_as_botocore_signs_it(
    method: str, key: str, query: dict[str, str], headers: dict[str, str], seconds: int
) -> None:
    path = f"/bucket/{quote(key, safe='/-_.~')}"
    pairs = sorted((quote(n, safe="-_.~"), quote(v, safe="-_.~")) for n, v in query.items())
    encoded = "&".join(f"{name}={value}" for name, value in pairs)
    credentials = EXAMPLE._replace(token="token")
    given_headers = {"host": "store.example:9000", **headers}

    ours = Signer("eu-1").sign(Unsigned(method, path, encoded, given_headers), credentials, seconds)

    request = AWSRequest(method, f"http://store.example:9000{path}?{encoded}", ours)
    theirs = S3SigV4Auth(BotoCredentials(*credentials), "s3", "eu-1")
    request.context["timestamp"] = ours["x-amz-date"]
    del request.headers["authorization"]
    canonical = theirs.canonical_request(request)
    text = theirs.string_to_sign(request, canonical)
    assert signature(ours) == theirs.signature(text, request)


def test_the_key_of_the_day_is_derived_anew_for_another_day_and_pair() -> None:
    signer, request = Signer("us-east-1"), PUBLISHED[0][0]
    fresh = [
        signature(Signer("us-east-1").sign(request, pair, seconds))
        for pair in (EXAMPLE, SUITE)
        for seconds in (MAY_24, MAY_24 + 86_400)
    ]

    again = [
        signature(signer.sign(request, pair, seconds))
        for pair in (EXAMPLE, SUITE)
        for seconds in (MAY_24, MAY_24 + 86_400)
    ]

    assert again == fresh
    assert len(set(fresh)) == 4


@given(st.text(max_size=30).map(lambda text: text.encode(errors="surrogatepass")))
def test_any_key_stands_in_a_target_byte_by_byte_but_for_what_needs_no_percent(raw: bytes) -> None:
    key = raw.decode(errors="surrogateescape")

    assert in_path(key) == quote(raw, safe="/-_.~")
    assert percent(key) == quote(raw, safe="-_.~")


def test_credentials_do_not_show_their_secret() -> None:
    assert EXAMPLE.secret_key not in repr(EXAMPLE)
