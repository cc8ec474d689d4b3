"""Files of manifests, taken apart into their YAML or JSON documents.

Stricter than YAML where YAML surprises: a key given twice is refused, and text are keys, dates and,
as for kubectl, what would be a number in base 60 (`1:30`).
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from yaml.constructor import SafeConstructor
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.nodes import ScalarNode

from pannier_gateway.config.problems import ManifestErrors, Problem

if yaml.__with_libyaml__:
    from yaml import CSafeLoader as SafeLoader
else:
    from yaml import SafeLoader  # type: ignore[assignment]  # the same, slower

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
DEEPEST = 64  # what a schema of ours asks for is a dozen deep
MOST_REPEATED = 250_000  # values that the aliases of a file stand for: seconds of checking
_TAG = "tag:yaml.org,2002:"
_TEXTS = frozenset(_TAG + tag for tag in ("str", "timestamp", "value", "merge"))
_NUMBERS = frozenset(_TAG + tag for tag in ("int", "float"))
_SCALARS = {
    _TAG + tag: SafeConstructor.yaml_constructors[_TAG + tag]
    for tag in ("null", "bool", "int", "float")
}

Files = tuple[tuple[str, bytes], ...]
"""Files by name, with their content."""


class Document(NamedTuple):
    """One document of a file (or one object of no file); `path` is where in it `value` stands."""

    file: str
    number: int
    value: object
    path: str = ""

    def problem(self, path: str, message: str) -> Problem:
        """A problem at `path`, which counts from `value`."""
        whole = ".".join(part for part in (self.path, path) if part)
        return Problem(self.file, self.number, whole, message)


def read(path: Path) -> Files:
    """The manifest file `path`, or all those directly in directory `path`, sorted by name.

    Raises ManifestErrors if one cannot be read or there is none.
    """
    try:
        files = tuple((str(label), file.read_bytes()) for label, file in _members(path))
    except OSError as error:
        problem = Problem(str(error.filename or path), 0, "", f"cannot be read: {error.strerror}")
        raise ManifestErrors([problem]) from error
    if not files:
        raise ManifestErrors([Problem(str(path), 0, "", "holds no .yaml, .yml or .json file")])
    return files


def documents(files: Iterable[tuple[str, bytes]]) -> Iterator[Document | Problem]:
    """The documents of `files` but for empty ones; what cannot be taken apart is a Problem."""
    for name, data in files:
        for item in _file_documents(name, data):
            if isinstance(item, Problem) or item.value is not None:
                yield item


def _members(path: Path) -> list[tuple[Path, Path]]:
    """Each file's name to show and where to read it.

    A mounted ConfigMap is read through its `..data` as of now: a flip cannot mix two versions.
    """
    if not path.is_dir():
        return [(path, path)]
    mounted = path / "..data"
    root = mounted.resolve() if mounted.is_dir() else path
    found = sorted(
        f for f in root.iterdir() if f.suffix in SUFFIXES and (f.is_file() or not f.exists())
    )
    return [(path / f.name, f) for f in found if not f.name.startswith(".")]


def _file_documents(name: str, data: bytes) -> Iterator[Document | Problem]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        yield Problem(name, 0, "", f"is not UTF-8: byte {error.start} cannot be read")
    else:
        take_apart = _json_documents if name.endswith(".json") else _yaml_documents
        yield from take_apart(name, text)


def _json_documents(name: str, text: str) -> Iterator[Document | Problem]:
    try:
        yield Document(name, 1, json.loads(text, object_pairs_hook=_without_repeats))
    except (ValueError, RecursionError) as error:
        yield Problem(name, 1, "", f"is not JSON: {error}")


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    seen: dict[str, object] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"key {key!r} is given twice in one object")
        seen[key] = value
    return seen


def _yaml_documents(name: str, text: str) -> Iterator[Document | Problem]:
    number = 0
    try:
        for number, value in enumerate(_Reader(text).values(), 1):
            yield Document(name, number, value)
    except yaml.YAMLError as error:
        yield Problem(name, number + 1, "", f"is not YAML: {_where_and_what(error)}")


def _where_and_what(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())


class _Anchored(NamedTuple):
    """What an alias stands for, and how many values that is, aliases in it written out."""

    value: object
    size: int


class _Reader(SafeLoader):
    """YAML's events as JSON's values.

    The library's own tree of nodes has no bounds: one nested deeply enough ends the process, and a
    few lines of aliases stand for more values than there is memory.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._anchors: dict[str | None, _Anchored | None] = {}  # None while its value is being read
        self._size = 0  # values so far
        self._repeated = 0  # those among them that aliases stand for

    def values(self) -> Iterator[object]:
        """One value for each document. Raises YAMLError."""
        self.get_event()  # of the stream's start
        while not self.check_event(StreamEndEvent):
            self.get_event()  # of the document's start
            self._anchors.clear()
            yield self._value(0)
            self.get_event()  # of its end

    def _value(self, depth: int) -> object:
        event = self._event()
        if isinstance(event, AliasEvent):
            return self._repeat(event)
        if event.anchor is None:
            return self._first(event, depth)
        before = self._size
        self._anchors[event.anchor] = None
        value = self._first(event, depth)
        self._anchors[event.anchor] = _Anchored(value, self._size - before)
        return value

    def _repeat(self, event: AliasEvent) -> object:
        found = self._anchors.get(event.anchor)
        if found is None:
            raise _refusal(event, f"alias {event.anchor!r} has no value yet")
        self._size += found.size
        self._repeated += found.size
        if self._repeated > MOST_REPEATED:
            raise _refusal(event, f"aliases stand for more than {MOST_REPEATED} values in all")
        return found.value

    def _first(self, event: NodeEvent, depth: int) -> object:
        self._size += 1
        if isinstance(event, ScalarEvent):
            return self._scalar(event)
        if depth == DEEPEST:
            raise _refusal(event, f"nested more than {DEEPEST} deep")
        if isinstance(event, SequenceStartEvent):
            return self._sequence(event, depth + 1)
        assert isinstance(event, MappingStartEvent)
        return self._mapping(event, depth + 1)

    def _scalar(self, event: ScalarEvent) -> object:
        tag = event.tag
        if tag is None or tag == "!":
            tag = str(self.resolve(ScalarNode, event.value, event.implicit))  # type: ignore[no-untyped-call]  # not typed there
        if tag in _TEXTS or (tag in _NUMBERS and ":" in event.value and event.implicit[0]):
            return event.value
        construct = _SCALARS.get(tag)
        if construct is None:
            raise _refusal(event, f"could not determine a constructor for the tag {tag!r}")
        try:
            if ":" in event.value:
                raise ValueError
            return construct(self, ScalarNode(tag, event.value))
        except (ValueError, LookupError) as error:
            raise _refusal(event, f"cannot be read as {tag.removeprefix(_TAG)}") from error

    def _sequence(self, event: CollectionStartEvent, depth: int) -> list[object]:
        _check_tag(event, "seq")
        values = []
        while not self.check_event(SequenceEndEvent):
            values.append(self._value(depth))
        self.get_event()
        return values

    def _mapping(self, event: CollectionStartEvent, depth: int) -> dict[str, object]:
        _check_tag(event, "map")
        values: dict[str, object] = {}
        merging: ScalarEvent | None = None
        while not self.check_event(MappingEndEvent):
            key = self._key()
            if key.value in values:
                raise _refusal(key, f"key {key.value!r} is given twice in one mapping")
            values[key.value] = self._value(depth)
            if key.value == "<<" and key.implicit[0]:
                merging = key
        self.get_event()
        return values if merging is None else _merged(values, merging)

    def _key(self) -> ScalarEvent:
        """A key counts as it is written, whatever a value of that look would be."""
        event = self._event()
        if not isinstance(event, ScalarEvent) or event.anchor is not None:
            raise _refusal(event, "a key must be text, without an anchor or alias")
        return event

    def _event(self) -> NodeEvent:
        event = self.get_event()
        assert isinstance(event, NodeEvent)  # no end: that has been checked for
        return event


def _merged(values: dict[str, object], key: ScalarEvent) -> dict[str, object]:
    """With what `<<` refers to put in behind: of a field given more often, the first counts."""
    found = values.pop("<<")
    merged: dict[str, object] = {}
    for each in reversed(found if isinstance(found, list) else [found]):
        if not isinstance(each, dict):
            raise _refusal(key, "<< takes a mapping or a list of mappings")
        merged |= each
    return merged | values


def _check_tag(event: CollectionStartEvent, name: str) -> None:
    if event.tag not in (None, "!", _TAG + name):
        raise _refusal(event, f"could not determine a constructor for the tag {event.tag!r}")


def _refusal(event: NodeEvent, problem: str) -> yaml.YAMLError:
    mark = event.start_mark
    assert mark is not None  # whatever was read has a place
    return yaml.YAMLError(f"line {mark.line + 1}, column {mark.column + 1}: {problem}")
