"""What an engine keeps of its promises, as it was seen to; nothing is taken from its name."""

from typing import Literal

from msgspec import Struct

from pannier_gateway.stores.s3.bodies import Checksum
from pannier_gateway.stores.s3.keys import Layout
from pannier_gateway.stores.s3.metadata import Stored

LONGEST_KEY = 1024  # bytes that S3 allows


class Traits(Struct, frozen=True, kw_only=True):
    """`create` and the like: of many writers at once under the same condition one succeeds.

    `replace`: how `if-match` wants its tag, None where it is not obeyed. `checksum`: the one that
    refuses damaged bytes, `verified` whether it was seen to. `tags`: an object has those that came
    with it, and never those of another; `lifecycle`: there are rules.
    """

    layout: Layout = "plain"
    longest_key: int = LONGEST_KEY  # bytes
    create: bool = False
    replace: Literal["quoted", "bare"] | None = None
    complete: bool = False  # as `create` and `replace`, at the end of a multipart upload
    copy: bool = False  # a copy obeys a condition on its target
    delete: bool = False
    delete_once: bool = False  # and tells who was faster that there was nothing left
    checksum: Checksum = "crc64nvme"
    verified: bool = False
    tags: bool = False
    tags_in_parts: bool = False  # also of one that was uploaded in parts
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
            f"keys of over {self.longest_key} bytes are refused": self.keeps_long_keys,
            "conditional creates are checked first: two writers at once may both win": self.create,
            "conditional replaces are checked first: two writers at once may both win": bool(
                self.replace
            ),
            "conditional uploads of many parts are checked first": self.complete,
            "conditional deletes are checked first": self.delete,
            "two who delete at once may both be told that there was one": self.delete_once
            or not self.delete,
            "TimeToIdle is not offered: deadlines can't be moved safely": self.moves,
            "damaged uploads were not seen to be refused": self.verified,
            "expired objects stay in the store: it deletes none by itself": self.deletes,
            "expired objects that came in parts stay in the store": self.tags_in_parts
            or not self.deletes,
        }
        return [text for text, kept in told.items() if not kept]

    @property
    def promises(self) -> dict[str, bool]:
        """What is kept and what is not, as metrics name it."""
        return {
            "keys as they are": self.layout == "plain",
            "keys as long as S3 allows": self.keeps_long_keys,
            "conditional create": self.create,
            "conditional replace": self.replace is not None,
            "conditional upload in parts": self.complete,
            "conditional copy": self.copy,
            "conditional delete": self.delete,
            "damage refused": self.verified,
            "time to idle": self.moves,
            "tags": self.tags,
            "tags of uploads in parts": self.tags_in_parts,
            "lifecycle": self.lifecycle,
        }

    @property
    def deletes(self) -> bool:
        """Lifecycle rules can tell which objects have expired."""
        return self.tags and self.lifecycle

    @property
    def keeps_long_keys(self) -> bool:
        return self.longest_key >= LONGEST_KEY

    @property
    def moves(self) -> bool:
        """Deadlines can be moved without ever undoing what somebody else writes."""
        return self.copy or (self.complete and self.replace is not None)
