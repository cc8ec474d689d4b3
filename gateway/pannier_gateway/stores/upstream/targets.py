"""Paths of a store as targets of the protocol. Pure; what `storage_prefix` makes is taken apart."""

from typing import NamedTuple
from urllib.parse import quote

from pannier.protocol.malformed import Malformed
from pannier.protocol.names import Scopes, check_usecase, storage_prefix
from pannier.protocol.target import object_path
from pannier_gateway.errors import BadRequest, ObjectNotFound
from pannier_gateway.stores.base import Listing

OBJECTS = "/objects/"


class Place(NamedTuple):
    """A usecase with its scopes, and what follows: a key, or the beginning of keys."""

    usecase: str
    scopes: Scopes
    rest: str

    @property
    def base(self) -> str:
        """What the paths of all its objects begin with."""
        return storage_prefix(self.usecase, self.scopes)


def place_of(path: str) -> Place:
    """Raises BadRequest for a path that no usecase has."""
    where, found, rest = path.partition(OBJECTS)
    usecase, *scopes = where.split("/")
    try:
        pairs = tuple((name, value) for name, _, value in (each.partition(".") for each in scopes))
        if found:
            return Place(check_usecase(usecase), Scopes(pairs), rest)
    except Malformed as error:
        raise BadRequest(f"{path[:80]!r} is no path of a usecase: {error}") from error
    raise BadRequest(f"{path[:80]!r} is no path of a usecase")


def target_of(path: str, prefix: str) -> str:
    """The raw target of the object at `path`, whose key gets `prefix`. Raises BadRequest."""
    place = place_of(path)
    try:
        return object_path(place.usecase, place.scopes, prefix + place.rest)
    except Malformed as error:
        raise BadRequest(str(error)) from error


def existing_target(path: str, prefix: str) -> str:
    """The same for a path at which something might be. Raises ObjectNotFound."""
    try:
        return target_of(path, prefix)
    except BadRequest as error:
        raise ObjectNotFound(str(error)) from error


def listing_target(listing: Listing, prefix: str) -> str:
    """The raw target of a page. `start_after` is one of the listing's own paths, or empty."""
    place = place_of(listing.prefix)
    fields = {"prefix": prefix + place.rest, "limit": str(listing.limit)}
    if listing.start_after:
        fields["start_after"] = prefix + listing.start_after.removeprefix(place.base)
    if listing.delimiter:
        fields["delimiter"] = listing.delimiter
    query = "&".join(f"{name}={quote(text, safe='')}" for name, text in fields.items() if text)
    return f"{object_path(place.usecase, place.scopes, None)}?{query}"
