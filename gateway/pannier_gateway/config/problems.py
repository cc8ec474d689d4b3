"""What is wrong with a configuration, said so that its author can mend it."""

from collections.abc import Iterable

from msgspec import Struct


class Problem(Struct, frozen=True):
    """One thing to mend. `document` counts from 1; 0 is the file, or an object of no file."""

    file: str
    document: int
    path: str
    message: str

    def __str__(self) -> str:
        """On one line, whatever a key or value in it holds."""
        place = f"document {self.document}" if self.document else ""
        text = ": ".join(part for part in (self.file, place, self.path, self.message) if part)
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class ConfigError(ValueError):
    """A configuration that cannot be used; its text says what to mend.

    ConfigError
    ├── ConfigAbsent      there is no file, or not yet
    └── ManifestErrors    every problem of a set of manifests
    """


class ConfigAbsent(ConfigError):
    """There is no file to read; there may be one soon."""


class ManifestErrors(ConfigError):
    """All problems of a set of manifests, one line of text each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))
