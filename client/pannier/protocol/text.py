"""Free text in header values: printable ASCII as it is, all else percent-encoded UTF-8."""

import re
from urllib.parse import quote, unquote_to_bytes

from pannier.protocol.malformed import Malformed

_LITERAL = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}"  # quote keeps letters, digits and _ . - ~ by itself
_OUTER_SPACES = re.compile(r"^ +| +$")


def encode_text(text: str) -> str:
    """Write text as a header value. Raises Malformed for half a surrogate pair."""
    try:
        encoded = quote(text, safe=_LITERAL)
    except UnicodeEncodeError as error:
        raise Malformed(f"text {text[:80]!r} cannot be written as UTF-8") from error
    # HTTP strips spaces around a value, so these have to be escaped to come back
    return _OUTER_SPACES.sub(lambda spaces: "%20" * len(spaces[0]), encoded)


def decode_text(value: str) -> str:
    """Read a header value back; a `%` without two hex digits after it stands for itself."""
    if "%" not in value and value.isascii():
        return value
    try:
        return unquote_to_bytes(value.encode(errors="surrogateescape")).decode()
    except UnicodeError as error:
        raise Malformed(f"text {value[:80]!r} does not decode to valid UTF-8") from error
