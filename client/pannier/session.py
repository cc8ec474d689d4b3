"""The objects of one usecase and its scopes: what an application holds on to."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Literal

from pannier.arguments import AskedRange, check_texts, checked_custom
from pannier.download import GetResult
from pannier.driver import Driver
from pannier.listing import Listing
from pannier.plan import (
    AcceptedEncoding,
    Conditions,
    Place,
    check_encoding,
    needed_key,
    plan_delete,
    plan_get,
    plan_head,
    plan_page,
    plan_put,
    read_metadata,
    read_page,
    read_put,
    read_range,
)
from pannier.protocol.expiration import Expiration
from pannier.protocol.metadata import DEFAULT_CONTENT_TYPE, Metadata
from pannier.protocol.names import Scopes
from pannier.protocol.target import object_path
from pannier.results import Page, PutResult
from pannier.source import Data, open_source


class Session:
    """Made by `Client.session`. Cheap, without a state of its own; threads may share it.

    Every method raises a ValueError or TypeError for arguments that no request can carry, and the
    errors of `pannier.errors` for what comes back.
    """

    def __init__(self, driver: Driver, place: Place) -> None:
        self._driver = driver
        self._place = place

    def __repr__(self) -> str:
        return f"<Session {self.usecase} {self.scopes} at {self._driver.config.address}>"

    @property
    def usecase(self) -> str:
        return self._place.usecase

    @property
    def scopes(self) -> Scopes:
        return self._place.scopes

    def put(  # noqa: PLR0913  # each is a thing one may say about an object
        self,
        data: Data,
        key: str | None = None,
        *,
        content_type: str | None = None,
        precompressed: Literal["zstd"] | None = None,
        expiration: Expiration | None = None,
        origin: str | None = None,
        filename: str | None = None,
        custom: Mapping[str, str] | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> PutResult:
        """Store bytes, a file (by path or open in binary mode) or pieces, replacing what was there.

        Without a key the server picks one. `precompressed="zstd"` says that the data is already
        zstd, to be stored as it is. Without an expiration the usecase's default holds.
        `if_none_match="*"` creates only (AlreadyExists), `if_match=etag` replaces only that state
        (PreconditionFailed). Raises SourceChanged when a file changes its size underneath.
        """
        metadata = Metadata(
            DEFAULT_CONTENT_TYPE if content_type is None else content_type,
            precompressed,
            expiration,
            origin,
            filename,
            checked_custom(custom),
        )
        conditions = Conditions(if_match, if_none_match)
        with open_source(data) as source:
            request = plan_put(self._place, key, metadata, conditions, source.size)
            with self._driver.exchange(request, source) as answer:
                return read_put(request, answer.head, answer.read_all(), source.sent)

    def get(
        self,
        key: str,
        *,
        range: AskedRange | None = None,  # noqa: A002  # the word that HTTP and its users have
        if_match: str | None = None,
        if_none_match: str | None = None,
        accept_encoding: AcceptedEncoding = "identity",
    ) -> GetResult:
        """Open an object for reading; raises NotFound when there is none.

        `range=(start, stop)` is half-open, `(start, None)` reads to the end and `(-n, None)` the
        last n bytes. With `accept_encoding="zstd"` the bytes may be zstd, as `metadata.compression`
        then says; nothing is decompressed here. `if_none_match=etag` raises NotModified.
        """
        conditions = Conditions(if_match, if_none_match)
        request = plan_get(self._place, key, range, conditions, accept_encoding)
        with ExitStack() as on_failure:
            answer = on_failure.enter_context(self._driver.exchange(request))
            metadata = check_encoding(request, read_metadata(request, answer.head))
            span = None if range is None else read_range(request, answer.head, range)
            on_failure.pop_all()
        return GetResult(answer, metadata, span)

    def head(self, key: str) -> Metadata:
        """The metadata of an object; raises NotFound when there is none."""
        request = plan_head(self._place, key)
        with self._driver.exchange(request) as answer:
            return read_metadata(request, answer.head)

    def delete(self, key: str) -> None:
        """Delete an object; that it is not there is as good."""
        self._driver.exchange(plan_delete(self._place, key)).close()

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str | None = None,
        delimiter: str | None = None,
        page_size: int | None = None,
    ) -> Listing:
        """The objects whose keys begin with the prefix and come after `start_after`.

        Nothing is asked before the first is looked at. With a delimiter, keys that go on behind it
        are folded into prefixes, see `Listing.pages`.
        """
        check_texts(prefix=prefix, start_after=start_after, delimiter=delimiter)
        query = {"prefix": prefix or None, "delimiter": delimiter, "limit": page_size}

        def fetch(start_after: str | None) -> Page:
            request = plan_page(self._place, {**query, "start_after": start_after})
            with self._driver.exchange(request) as answer:
                return read_page(request, answer.read_all(), start_after)

        return Listing(fetch, start_after)

    def object_url(self, key: str) -> str:
        """The URL of an object, for another program; raises ValueError behind a Unix socket."""
        return self._driver.config.address.url(
            object_path(self.usecase, self.scopes, needed_key(key))
        )
