"""A listing: pages asked for one by one, only as far as somebody looks."""

from collections.abc import Callable, Iterator
from typing import Self

from pannier.results import ObjectEntry, Page


class Listing(Iterator[ObjectEntry]):
    """The objects of a collection, in the order of their keys' UTF-8 bytes.

    Iterating gives objects alone; where a delimiter folds keys, `pages` has the prefixes too.
    """

    def __init__(self, fetch: Callable[[str | None], Page], start_after: str | None) -> None:
        self._fetch = fetch
        self._start_after = start_after
        self._objects = (entry for page in self.pages() for entry in page.objects)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ObjectEntry:
        return next(self._objects)

    def pages(self) -> Iterator[Page]:
        """The pages, from the first one."""
        following = self._start_after
        while True:
            page = self._fetch(following)
            yield page
            if page.next is None:
                return
            following = page.next
