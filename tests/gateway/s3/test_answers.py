"""What stores say, in XML or otherwise, and what it means for the caller."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.errors import (
    ArrivedDamaged,
    BadRequest,
    PannierError,
    StoreBusy,
    StoreFull,
    StoreMisanswered,
    StoreRefused,
    StoreTimedOut,
    StoreUnavailable,
)
from pannier_gateway.stores.exchanging import broken
from pannier_gateway.stores.s3.answers import (
    Listed,
    NotXml,
    Refusal,
    error_inside,
    listed_page,
    parsed,
    refusal,
    upload_id,
)
from pannier_gateway.stores.s3.refusals import S3, refused
from pannier_gateway.upstream.errors import (
    AnswerCut,
    AnswerMalformed,
    ConnectFailed,
    ConnectTimedOut,
    ExchangeError,
    FirstByteTimedOut,
    NoAnswer,
    PoolExhausted,
    ProgressTimedOut,
    TlsFailed,
)

PLACE = "bucket 'b' at http://store"
BOMB = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb">]><Error><Code>&b;</Code></Error>"""
LISTING = b"""<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>
<EncodingType>url</EncodingType><Contents><Key>a%2Fb+c%0A</Key><ETag>"e"</ETag>
<LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>5</Size></Contents></ListBucketResult>"""


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()


def test_a_listing_is_read_with_its_keys_decoded() -> None:
    page = listed_page(LISTING, encoded=True)

    assert page.keys == (Listed("a/b c\n", '"e"', "2026-01-01T00:00:00.000Z", 5),)
    assert page.token == "t"
    assert listed_page(LISTING, encoded=False).keys[0].key == "a%2Fb+c%0A"


CONTROL = b"""<ListBucketResult><EncodingType>url</EncodingType><Prefix>&#x01;</Prefix>
<IsTruncated>true</IsTruncated><NextContinuationToken>a&#31;</NextContinuationToken>
<Contents><Key>a%01&#10;</Key><ETag>"e"</ETag><LastModified>then</LastModified><Size>5</Size>
</Contents></ListBucketResult>"""


def test_what_xml_can_not_hold_costs_the_mark_of_the_next_page_and_nothing_else() -> None:
    page = listed_page(CONTROL, encoded=True)

    assert [each.key for each in page.keys] == ["a\x01\n"]
    assert (page.token, page.more) == (None, True)
    for text in (CONTROL.replace(b">url<", b"><"), CONTROL.replace(b"Contents", b"Other")):
        with pytest.raises(NotXml, match="can't be read, or gone on with"):
            listed_page(text, encoded=True)


def test_an_error_is_read_wherever_it_comes() -> None:
    assert refusal(403, error("AccessDenied")) == Refusal(403, "AccessDenied", "m")
    assert error_inside(error("InternalError")) == Refusal(500, "InternalError", "m")
    late = b' \n <?xml version="1.0"?>' + error("InternalError")
    assert error_inside(late) == Refusal(500, "InternalError", "m")
    assert error_inside(b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>") is None


@pytest.mark.parametrize("text", [BOMB, b"", b"<html><p>", b"{}", b"\xff\xfe<\0a\0/\0>\0"])
def test_what_is_not_plain_xml_is_not_read(text: bytes) -> None:
    with pytest.raises(NotXml):
        listed_page(text, encoded=False)
    with pytest.raises(NotXml):
        upload_id(text)
    assert refusal(400, text).code == ""


def test_a_document_type_ends_the_reading() -> None:
    with pytest.raises(NotXml, match="document type"):
        parsed(BOMB)


@given(st.binary(max_size=100), st.integers(300, 599))
def test_any_answer_means_something(text: bytes, status: int) -> None:
    assert PLACE in str(refused(PLACE, refusal(status, text))) or status == 507


@pytest.mark.parametrize(
    ("what", "kind", "status"),
    [
        (Refusal(403, "SignatureDoesNotMatch", ""), StoreRefused, 502),
        (Refusal(404, "NoSuchBucket", ""), StoreRefused, 502),
        (Refusal(404, "XAdminUserNotFound", ""), StoreRefused, 502),
        (Refusal(403, "RequestTimeTooSkewed", ""), StoreRefused, 502),
        (Refusal(400, "WhoKnows", ""), StoreRefused, 502),
        (Refusal(400, "BadDigest", ""), ArrivedDamaged, 502),
        (Refusal(400, "IncompleteBody", ""), ArrivedDamaged, 502),
        (Refusal(400, "", "<html>"), StoreMisanswered, 502),
        (Refusal(503, "SlowDown", ""), StoreBusy, 503),
        (Refusal(429, "", ""), StoreBusy, 503),
        (Refusal(400, "RequestTimeout", ""), StoreUnavailable, 503),
        (Refusal(409, "OperationAborted", ""), StoreUnavailable, 503),
        (Refusal(500, "InternalError", ""), StoreUnavailable, 503),
        (Refusal(502, "", "Bad Gateway"), StoreUnavailable, 503),
        (Refusal(507, "", ""), StoreFull, 507),
        (Refusal(400, "KeyTooLongError", ""), BadRequest, 400),
    ],
)
def test_refusals_are_told_apart(what: Refusal, kind: type[PannierError], status: int) -> None:
    told = refused(PLACE, what)

    assert type(told) is kind
    assert told.status == status
    assert kind is StoreFull or PLACE in str(told)


def test_a_busy_store_is_asked_again_when_it_says() -> None:
    told = refused(PLACE, Refusal(503, "SlowDown", "", wait=7.0))

    assert isinstance(told, StoreBusy)
    assert told.wait == 7.0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConnectTimedOut(""), 504),
        (FirstByteTimedOut(""), 504),
        (ProgressTimedOut(""), 504),
        (TlsFailed(""), 502),
        (AnswerMalformed(""), 502),
        (ConnectFailed(""), 503),
        (NoAnswer(""), 503),
        (PoolExhausted(""), 503),
        (AnswerCut("", 1), 503),
    ],
)
def test_broken_exchanges_are_told_apart(error: ExchangeError, status: int) -> None:
    told = broken(PLACE, error, S3)

    assert told.status == status
    assert PLACE in str(told)
    assert isinstance(told, StoreTimedOut) is (status == 504)
