"""Files of manifests, taken apart into their YAML or JSON documents.

Stricter than YAML where YAML surprises: a key given twice is refused, keys and dates are text.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pannier_gateway.config.problems import ManifestErrors, Problem

if yaml.__with_libyaml__:
    from yaml import CSafeLoader as SafeLoader
else:
    from yaml import SafeLoader  # type: ignore[assignment]  # the same, slower

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
_TAG = "tag:yaml.org,2002:"

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
        problem = Problem(str(path), 0, "", f"cannot be read: {error.strerror}")
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
        loader = _Loader(text)
        while True:
            number += 1
            if not loader.check_node():
                return
            yield Document(name, number, loader.value())
    except yaml.YAMLError as error:
        yield Problem(name, number, "", f"is not YAML: {_where_and_what(error)}")
    except RecursionError as error:
        yield Problem(name, number, "", f"is not YAML: {error}")


def _where_and_what(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())


class _Loader(SafeLoader):
    """YAML's documents in JSON's types."""

    yaml_constructors = {  # noqa: RUF012  # the library declares it so
        **{
            _TAG + tag: SafeConstructor.yaml_constructors[_TAG + tag]
            for tag in ("null", "bool", "int", "float", "str", "seq", "map")
        },
        **{_TAG + tag: SafeConstructor.construct_yaml_str for tag in ("timestamp", "value")},
        None: SafeConstructor.construct_undefined,
    }

    def value(self) -> object:
        """The next document."""
        node = self.get_node()
        assert node is not None  # `check_node` has said so
        _refuse_repeats(node)
        return self.construct_document(node)

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError) as error:
            problem = f"cannot be read as {node.tag.removeprefix(_TAG)}"
            raise ConstructorError(problem=problem, problem_mark=node.start_mark) from error

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        return {key.value: self.construct_object(part, deep) for key, part in node.value}


def _refuse_repeats(root: Node) -> None:
    """Done before any merge (`<<`), which may rightly repeat a key."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, SequenceNode):
            waiting += node.value
        elif isinstance(node, MappingNode):
            _refuse_repeated_keys(node)
            waiting += (part for _, part in node.value)


def _refuse_repeated_keys(node: MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            raise ConstructorError(problem="a key must be text", problem_mark=key.start_mark)
        if key.value in seen:
            problem = f"key {key.value!r} is given twice in one mapping"
            raise ConstructorError(problem=problem, problem_mark=key.start_mark)
        seen.add(key.value)
