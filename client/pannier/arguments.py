"""What callers pass, checked before anything is sent: what is wrong says what to give instead."""

from collections.abc import Mapping

from pannier.protocol.expiration import Expiration
from pannier.protocol.metadata import Metadata

AskedRange = tuple[int, int | None]

_A_PAIR = (
    "must be (start, stop) with 0 <= start < stop, (start, None) for all from start, or (-n, None) "
    "for the last n bytes"
)


def check_texts(**given: object) -> None:
    """Raises TypeError for an argument that is there and no text."""
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name}={value!r} must be text, not {type(value).__name__}")


def checked_custom(custom: object) -> dict[str, str]:
    """A copy. Raises TypeError for what is no mapping of text to text."""
    if custom is None:
        return {}
    if not isinstance(custom, Mapping):
        raise TypeError(f"custom must be a mapping of text to text, not {type(custom).__name__}")
    for name, value in custom.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"custom={{{name!r}: {value!r}}} must be text on both sides")
    return dict(custom)


def check_metadata(stated: Metadata) -> None:
    """Raises TypeError or ValueError for values that no header has words for."""
    check_texts(content_type=stated.content_type, origin=stated.origin, filename=stated.filename)
    if stated.compression not in (None, "zstd"):
        raise ValueError(f"precompressed={stated.compression!r} must be 'zstd', or left out")
    if not isinstance(stated.expiration, Expiration | None):
        raise TypeError(
            f"expiration={stated.expiration!r} must be an Expiration, such as "
            "Expiration.ttl(timedelta(hours=1))"
        )


def check_range(asked: object) -> AskedRange:
    """Raises TypeError for what is no pair of numbers, ValueError for numbers out of order."""
    match asked:
        case (int(start), None):
            return start, None
        case (int(start), int(stop)):
            if not 0 <= start < stop:
                raise ValueError(f"range={asked!r} {_A_PAIR}")
            return start, stop
        case _:
            raise TypeError(f"range={asked!r} {_A_PAIR}")
