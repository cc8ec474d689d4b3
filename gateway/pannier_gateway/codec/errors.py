"""What goes wrong with zstd bytes.

DecodeError            they do not decode to what was expected
├─ NotZstd             they are no whole, valid zstd stream
└─ DecodedTooLarge     they decode to more bytes than allowed
NoRoom                 decoders hold all the memory they may
"""


class DecodeError(ValueError):
    """Bytes do not decode to what was expected."""


class NotZstd(DecodeError):
    """Bytes that claim to be zstd are none, are damaged, or end early."""


class DecodedTooLarge(DecodeError):
    """Bytes decode to more than `limit`."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body decodes to more than {limit} bytes")
        self.limit = limit


class NoRoom(Exception):
    """Other decoders hold the memory that one more needs, and have not given it back in time."""

    def __init__(self, size: int, seconds: float) -> None:
        super().__init__(f"{size} bytes to decode with have not become free in {seconds:g} s")
