"""The tree of errors: what its docstring draws, what each carries, and that it travels."""

import pickle
import re
from http import HTTPStatus

import pytest

from pannier import Client, PannierError, errors
from pannier.errors import Subject
from pannier.plan import Conditions, Place, ResponseHead, plan_get, plan_put, refusal
from pannier.protocol.metadata import Metadata
from pannier.protocol.names import Scopes
from support.scripted import answer, serving

PLACE = Place("abc", Scopes())
GET = plan_get(PLACE, "k", None, Conditions(), "identity")
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, PannierError)
]


def test_the_tree_is_drawn_as_it_is() -> None:
    above: list[str] = []
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"((?:[│├└ ][─ ]{2} )*)([A-Z]\w+)(?:  |$)", line):
            depth = len(match[1]) // 4
            above[depth:] = [match[2]]
            drawn[match[2]] = above[depth - 1] if depth else "Exception"

    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_survives_a_pickle_with_all_it_carries(kind: type[PannierError]) -> None:
    error = kind("why", Subject("get", "abc", "k"), status=1, detail="d", retry_after=2.5)

    twin = pickle.loads(pickle.dumps(error))

    assert type(twin) is kind
    assert str(twin) == str(error) == "get 'k' in usecase 'abc': why"
    assert vars(twin) == vars(error)
    assert (twin.operation, twin.usecase, twin.key) == ("get", "abc", "k")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (304, errors.NotModified),
        (400, errors.RequestRefused),
        (401, errors.Unauthenticated),
        (403, errors.PermissionDenied),
        (404, errors.NotFound),
        (405, errors.RequestRefused),
        (412, errors.PreconditionFailed),
        (413, errors.TooLarge),
        (416, errors.RangeNotSatisfiable),
        (429, errors.Overloaded),
        (500, errors.ServerError),
        (501, errors.ServerError),
        (502, errors.BadGateway),
        (503, errors.Overloaded),
        (504, errors.BadGateway),
        (507, errors.StorageFull),
        (101, errors.ProtocolError),
        (202, errors.ProtocolError),
        (302, errors.ProtocolError),
        (700, errors.ServerError),
    ],
)
def test_each_status_means_one_error(status: int, kind: type[PannierError]) -> None:
    error = refusal(GET, ResponseHead(status, ()), b"")

    assert type(error) is kind
    assert error.status == status
    phrase = "a status unknown to HTTP" if status == 700 else HTTPStatus(status).phrase
    assert str(error) == f"get 'k' in usecase 'abc': {status}: {phrase}"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"detail": "no", "causes": ["x"]}', "no"),
        (b"plain words\n", "plain words"),
        (b'{"detail": 3}', '{"detail": 3}'),
        (b"[1]", "[1]"),
        (b"\xff", "\N{REPLACEMENT CHARACTER}"),
        (b"x" * 9999, "x" * 500),
        (b" ", None),
    ],
)
def test_the_detail_is_what_the_server_said(body: bytes, detail: str | None) -> None:
    assert refusal(GET, ResponseHead(400, ()), body).detail == detail


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("0", 0.0), ("-1", None), ("soon", None), ("", None)]
)
def test_retry_after_is_read_where_it_is_a_number(value: str, seconds: float | None) -> None:
    error = refusal(GET, ResponseHead(503, (("Retry-After", value),)), b"")

    assert error.retry_after == seconds


def test_412_is_already_exists_to_a_create_only_put_alone() -> None:
    def refused(conditions: Conditions) -> PannierError:
        request = plan_put(PLACE, "k", Metadata(), conditions, 1)
        return refusal(request, ResponseHead(412, ()), b"")

    assert type(refused(Conditions(if_none_match="*"))) is errors.AlreadyExists
    assert type(refused(Conditions(if_match="e"))) is errors.PreconditionFailed
    assert isinstance(refused(Conditions(if_none_match="*")), FileExistsError)


def test_an_error_without_a_key_names_the_usecase() -> None:
    refused = pytest.raises(PermissionError, match=r"^list usecase 'abc': 403: off$")
    with serving(answer("403 Forbidden", b"off")) as server, refused:
        next(Client(server.url, pool_size=0).session("abc").list())
