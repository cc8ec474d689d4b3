"""The Secrets and ConfigMaps that Buckets name: mounted files, or documents among the manifests.

They are read when they are needed and not kept: what has been renewed counts from then on.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from pannier_gateway.errors import StoreRefused

Contents = Mapping[str, Mapping[str, bytes]]
CONFIG_MAPS = "config-maps"  # the folder of CA bundles, beside that of Secrets


class Secrets(Protocol):
    """Where a Bucket's Secrets and ConfigMaps are."""

    def read(self, name: str, key: str) -> bytes:
        """What is under `key` in the one called `name`. Raises StoreRefused where nothing is."""
        ...


class MountedSecrets:
    """`folder/NAME/KEY`, and for CA bundles `config-maps/NAME/KEY` beside the folder too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"<MountedSecrets {self._folder}>"

    def read(self, name: str, key: str) -> bytes:
        if not all(map(_is_name, (name, key))):  # else any file here could go to a store as a token
            raise StoreRefused(f"no Secret is called {name!r} or has a key {key!r}: rename it")
        for folder in (self._folder, self._folder.parent / CONFIG_MAPS):
            try:
                return (folder / name / key).read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreRefused(f"{folder / name / key} can't be read: {error}") from error
        raise StoreRefused(
            f"there is no {self._folder / name / key}: create the Secret {name} with key {key}, "
            "and have it mounted there (--secrets-dir)"
        )


def _is_name(text: str) -> bool:
    """Whether it names one thing in a folder, and nothing elsewhere."""
    return bool(text.strip(".")) and not {"/", "\0"} & set(text)


class ManifestSecrets:
    """Documents among the manifests, in the namespace of the Bucket.

    `contents` gives what there is now, by `namespace/name` and key.
    """

    def __init__(self, contents: Callable[[], Contents], namespace: str) -> None:
        self._contents = contents
        self._namespace = namespace

    def __repr__(self) -> str:
        return f"<ManifestSecrets in {self._namespace}>"

    def read(self, name: str, key: str) -> bytes:
        found = self._contents().get(f"{self._namespace}/{name}", {}).get(key)
        if found is None:
            raise StoreRefused(
                f"there is no Secret or ConfigMap {self._namespace}/{name} with the key {key!r}: "
                "give it beside the Bucket, or mount it (--secrets-dir)"
            )
        return found


def secrets_of(
    folder: Path | None, contents: Callable[[], Contents] | None, namespace: str
) -> "EitherSecrets":
    """Where a Bucket of `namespace` finds what it names: where something is mounted, and where
    there are manifests."""
    places: list[Secrets] = []
    if folder is not None:
        places.append(MountedSecrets(folder))
    if contents is not None:
        places.append(ManifestSecrets(contents, namespace))
    return EitherSecrets(*places)


class EitherSecrets:
    """What is mounted, and else what the manifests bring along."""

    def __init__(self, *places: Secrets) -> None:
        self._places = places

    def __repr__(self) -> str:
        return f"<EitherSecrets {self._places}>"

    def read(self, name: str, key: str) -> bytes:
        missing = StoreRefused(f"there is no {name}/{key}: mount it (--secrets-dir)")
        for place in self._places:
            try:
                return place.read(name, key)
            except StoreRefused as error:
                missing = error
        raise missing
