"""The names that applications may rely on; to change this list is to break somebody."""

import subprocess
import sys
from inspect import signature
from pathlib import Path

import pannier

ROOT = Path(__file__).parents[2]

NAMES = """
MANUAL AlreadyExists BadGateway ByteRange Client ConnectionFailed Expiration GetResult
IntegrityError Listing Metadata NotFound NotModified ObjectEntry Overloaded Page PannierError
PermissionDenied PreconditionFailed ProtocolError PutResult RangeNotSatisfiable RequestRefused
RequestTimeout Retry ServerError Session SourceChanged StorageFull Timeout TooLarge TransientError
TruncatedBody Unauthenticated __version__
"""

PARAMETERS = {
    "put": "data key content_type precompressed expiration origin filename custom if_match "
    "if_none_match",
    "get": "key range if_match if_none_match accept_encoding",
    "head": "key",
    "delete": "key",
    "list": "prefix start_after delimiter page_size",
    "object_url": "key",
}


def test_the_public_names_are_these() -> None:
    assert sorted(pannier.__all__) == sorted(NAMES.split())
    assert all(hasattr(pannier, name) for name in NAMES.split())


def test_the_calls_of_a_session_are_these() -> None:
    public = [name for name in vars(pannier.Session) if not name.startswith("_")]

    assert set(public) == {*PARAMETERS, "usecase", "scopes"}
    for name, parameters in PARAMETERS.items():
        assert list(signature(getattr(pannier.Session, name)).parameters)[1:] == parameters.split()


def test_every_error_is_public() -> None:
    kinds = {kind for kind in vars(pannier.errors).values() if isinstance(kind, type)}

    assert {kind.__name__ for kind in kinds if issubclass(kind, pannier.PannierError)} <= {
        *pannier.__all__
    }


def test_every_public_thing_explains_itself() -> None:
    for name in pannier.__all__:
        assert getattr(pannier, name).__doc__


def test_the_client_imports_the_standard_library_alone() -> None:
    code = "import sys, pannier; print(*{name.partition('.')[0] for name in sys.modules})"
    path = str(ROOT / "client")
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {path!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )

    known = {*sys.stdlib_module_names, "pannier", "__main__", "__mp_main__"}
    assert {name for name in run.stdout.split() if not name.startswith("_")} <= known
