"""Which usecases are served at present, and what is said of one that is not."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from msgspec import Struct

from pannier_gateway.admission import Gate
from pannier_gateway.config.model import UsecaseConfig
from pannier_gateway.errors import NoConfiguration, UsecaseRefused, UsecaseUnknown
from pannier_gateway.kept import KeptObjects
from pannier_gateway.objects import Objects, Parts
from pannier_gateway.permit import Permit


class Served(Struct, frozen=True):
    """One usecase: its objects, the same as they are kept, and what lets requests through."""

    objects: Objects
    kept: KeptObjects
    gate: Gate

    @classmethod
    def of(cls, usecase: UsecaseConfig, permit: Permit, parts: Parts, gate: Gate) -> "Served":
        return cls(Objects(usecase, permit, parts), KeptObjects(usecase, permit, parts), gate)


class Catalog(Struct, frozen=True):
    """The usecases of one configuration, by their names in URLs.

    `refused` has why others were left out, and `waiting` why there is no configuration yet. Their
    stores stay open in a `with` block of `tenancy`.
    """

    usecases: Mapping[str, Served] = {}
    refused: Mapping[str, str] = {}
    waiting: str | None = None
    tenancy: AbstractContextManager[None] = nullcontext()

    def __repr__(self) -> str:
        return f"<Catalog {len(self.usecases)} usecases, {len(self.refused)} refused>"

    def find(self, name: str) -> Served:
        """Raises NoConfiguration, UsecaseRefused, UsecaseUnknown."""
        served = self.usecases.get(name)
        if served is None:
            raise self._absence(name)
        return served

    def _absence(self, name: str) -> NoConfiguration | UsecaseUnknown:
        if self.waiting is not None:
            return NoConfiguration(f"nothing is served yet: {self.waiting}")
        if name in self.refused:
            return UsecaseRefused(
                f"usecase {name!r} is declared but was refused: {self.refused[name]}"
            )
        return UsecaseUnknown(
            f"usecase {name!r} is not declared: apply a Usecase of that name "
            "(apiVersion: pannier.dev/v1alpha1) whose bucketRef names a Bucket"
        )
