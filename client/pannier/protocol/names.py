"""What an object is called: usecase, scopes and key, and the prefix they are stored under."""

import re
from dataclasses import dataclass
from typing import Self

from pannier.protocol.malformed import Malformed

MAX_KEY_BYTES = 1024
NO_SCOPES = "_"

_USECASE = re.compile(r"[A-Za-z0-9_-]{3,64}")
_SCOPE_WORD = re.compile(r"[A-Za-z0-9_\-()$!+']+")


def check_usecase(usecase: str) -> str:
    """Return the name as it came, or raise Malformed."""
    if not _USECASE.fullmatch(usecase):
        raise Malformed(
            f"usecase {usecase[:80]!r} must be 3 to 64 characters of A-Z, a-z, 0-9, '_' and '-'"
        )
    return usecase


def check_key(key: str) -> str:
    """Return the key as it came: any text but the empty one, without NUL, of at most 1024 bytes.

    Dots and slashes mean nothing here: `../../x`, `a//b` and `/lead` are keys like any other.
    """
    if not key:
        raise Malformed("the key must not be empty")
    if "\0" in key:
        raise Malformed("the key must not contain NUL")
    if len(key) * 4 > MAX_KEY_BYTES or not key.isascii():
        _check_key_bytes(key)
    return key


def _check_key_bytes(key: str) -> None:
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise Malformed("the key holds half a surrogate pair, which UTF-8 cannot write") from error
    if size > MAX_KEY_BYTES:
        raise Malformed(f"the key is {size} bytes of UTF-8, at most {MAX_KEY_BYTES} are allowed")


@dataclass(frozen=True, slots=True)
class Scopes:
    """The ordered name=value namespace inside a usecase; the order is part of the name."""

    pairs: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for pair in self.pairs:
            for word in pair:
                _check_scope_word(word, pair)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the wire form, `org=1;project=2`, or `_` for no scopes."""
        if text == NO_SCOPES:
            return cls()
        return cls(tuple(_split_pair(part) for part in text.split(";")))

    @classmethod
    def of(cls, **scopes: str | int | bool) -> Self:
        """Take the scopes in the order of the keywords; `True` becomes the text `True`."""
        return cls(tuple((name, str(value)) for name, value in scopes.items()))

    @property
    def path(self) -> str:
        """The form used in storage, `org.1/project.2`; empty without scopes."""
        return "/".join(f"{name}.{value}" for name, value in self.pairs)

    def __str__(self) -> str:
        return ";".join(f"{name}={value}" for name, value in self.pairs) or NO_SCOPES


def storage_prefix(usecase: str, scopes: Scopes) -> str:
    """What every stored key of this usecase and these scopes begins with."""
    return f"{usecase}/{scopes.path}/objects/" if scopes.pairs else f"{usecase}/objects/"


def _split_pair(part: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not equals:
        raise Malformed(
            f"scope {part[:80]!r} must be name=value, several joined by ';', or '_' for no scopes"
        )
    return name, value


def _check_scope_word(word: str, pair: tuple[str, str]) -> None:
    if not _SCOPE_WORD.fullmatch(word):
        shown = "=".join(pair)[:80]
        raise Malformed(
            f"scope {shown!r}: name and value must be letters, digits or _ - ( ) $ ! + ', not empty"
        )
