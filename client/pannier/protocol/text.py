"""Free text in header values: printable ASCII as it is, all else percent-encoded UTF-8."""

from urllib.parse import quote, unquote_to_bytes

from pannier.protocol.malformed import Malformed

_LITERAL = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}"  # quote keeps letters, digits and _ . - ~ by itself


def encode_text(text: str) -> str:
    """Write text as a header value. Raises Malformed for half a surrogate pair."""
    try:
        encoded = quote(text, safe=_LITERAL)
    except UnicodeEncodeError as error:
        raise Malformed(f"text {text[:80]!r} cannot be written as UTF-8") from error
    # HTTP strips spaces around a value, so these have to be escaped to come back
    before = len(encoded) - len(encoded.lstrip(" "))
    core = encoded.strip(" ")
    return "%20" * before + core + "%20" * (len(encoded) - before - len(core))


def decode_text(value: str) -> str:
    """Read a header value back; a `%` without two hex digits after it stands for itself."""
    if "%" not in value and value.isascii():
        return value
    try:
        return unquote_to_bytes(value.encode(errors="surrogateescape")).decode()
    except UnicodeError as error:
        raise Malformed(f"text {value[:80]!r} does not decode to valid UTF-8") from error
