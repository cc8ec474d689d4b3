"""What an engine keeps of its promises, as it was seen to; nothing is taken from its name."""

from typing import Literal

from msgspec import Struct

from pannier_gateway.stores.s3.bucket import Checksum
from pannier_gateway.stores.s3.keys import Layout
from pannier_gateway.stores.s3.metadata import Stored


class Traits(Struct, frozen=True, kw_only=True):
    """`create` and the like: of many writers at once under the same condition one succeeds.

    `replace`: how `if-match` wants its tag, None where it is not obeyed. `checksum`: the one that
    refuses damaged bytes, `verified` whether it was seen to.
    """

    layout: Layout = "plain"
    create: bool = False
    replace: Literal["quoted", "bare"] | None = None
    complete: bool = False  # as `create` and `replace`, at the end of a multipart upload
    copy: bool = False  # a copy obeys a condition on its target
    delete: bool = False
    checksum: Checksum = "crc64nvme"
    verified: bool = False
    tags: bool = False
    lifecycle: bool = False

    def guard(self, found: Stored | None) -> dict[str, str]:
        """The condition that a write succeeds only where all is still as `found`, if obeyed."""
        if found is None:
            return {"if-none-match": "*"} if self.create else {}
        match self.replace:
            case "quoted":
                return {"if-match": found.tag}
            case "bare":
                return {"if-match": found.tag.strip('"')}
        return {}

    @property
    def told(self) -> str:
        """What the engine does, in words."""
        checksum = f"{self.checksum} {'verified' if self.verified else 'not seen to be verified'}"
        return f"keys {self.layout}, checksum {checksum}"

    @property
    def weaknesses(self) -> list[str]:
        """What this store can't promise, in words."""
        told = {
            "conditional creates are checked first: two writers at once may both win": self.create,
            "conditional replaces are checked first: two writers at once may both win": bool(
                self.replace
            ),
            "conditional uploads of many parts are checked first": self.complete,
            "conditional deletes are checked first": self.delete,
            "TimeToIdle is not offered: deadlines can't be moved safely": self.moves,
            "damaged uploads were not seen to be refused": self.verified,
        }
        return [text for text, kept in told.items() if not kept]

    @property
    def promises(self) -> dict[str, bool]:
        """What is kept and what is not, as metrics name it."""
        return {
            "keys as they are": self.layout == "plain",
            "conditional create": self.create,
            "conditional replace": self.replace is not None,
            "conditional upload in parts": self.complete,
            "conditional copy": self.copy,
            "conditional delete": self.delete,
            "damage refused": self.verified,
            "time to idle": self.moves,
            "tags": self.tags,
            "lifecycle": self.lifecycle,
        }

    @property
    def moves(self) -> bool:
        """Deadlines can be moved without ever undoing what somebody else writes."""
        return self.copy or (self.complete and self.replace is not None)
