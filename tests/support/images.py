"""The container images that a node runs, built from Dockerfiles without an engine or a registry.

buildah builds them on a Debian that debootstrap makes. Layers stay in ~/.cache/pannier/images.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support import machine
from support.binaries import ROOT, Unavailable, alone, cache_home, say
from support.debian import output

ARCHIVE = "PANNIER_IMAGES"  # the variable that tells tests of which images their node runs
TAG = "e2e"  # not `latest`, which a kubelet would want to pull
GATEWAY = "localhost/pannier-gateway"
OPERATOR = "localhost/pannier-operator"
APPLICATION = f"localhost/objectstore-client:{TAG}"
PAUSE = f"localhost/pause:{TAG}"

_OURS = "Dockerfile"
_OTHERS = "tests/e2e/Dockerfile"
_TARGETS = {
    f"{GATEWAY}:{TAG}": (_OURS, "gateway"),
    f"{OPERATOR}:{TAG}": (_OURS, "operator"),
    APPLICATION: (_OTHERS, "application"),
    PAUSE: (_OTHERS, "pause"),
}
_SOURCES = (
    *(_OURS, _OTHERS, ".dockerignore", "pyproject.toml", "requirements"),
    *("client", "gateway", "operator", "README.md", "LICENSE"),
)
_RELEASE = "trixie"
_PACKAGES = "ca-certificates,curl,python3,python3-venv"
_UNREAD = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale")
_PROBE = "localhost/probe:latest"
_BASE_DOCKERFILE = """
FROM scratch
ADD rootfs.tar /
ENV PATH=/usr/local/bin:/usr/bin:/bin
RUN python3 -m venv /usr/local
"""
_REACHING = "RUN pip download --no-cache-dir --no-deps --dest /tmp pip"  # what else is not ours
_BASE_DIGEST = hashlib.sha256(f"{_RELEASE} {_PACKAGES} {_BASE_DOCKERFILE}".encode())
_BASE = f"localhost/python:{_RELEASE}-{_BASE_DIGEST.hexdigest()[:8]}"
_TRUST = Path("/etc/ssl/certs/ca-certificates.crt")


def archive(root: Path = ROOT) -> Path:
    """Where all images are, in one archive, once they are built from what the sources are now."""
    digest = hashlib.sha256(_BASE.encode())
    for file in _source_files(root):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(root)} {content}\n".encode())
    return cache_home() / "images" / f"{digest.hexdigest()[:16]}.tar"


def build(target: Path) -> None:
    """Makes that archive of images, on their base; raises Unavailable."""
    with _builder() as builder:
        for old in target.parent.glob("*.tar"):
            old.unlink()
        builder.build(target)


def have_base() -> None:
    """Makes what the images are built on, which takes minutes, once; raises Unavailable."""
    with _builder() as builder:
        builder.have_base()


@contextmanager
def _builder() -> Iterator["Builder"]:
    """Needs the network, and a machine of its own, with which all ends that is mounted."""
    folder = cache_home() / "images"
    with alone(folder):
        yield Builder(folder, machine.folder_of(os.environ[machine.NAME]))


def _source_files(root: Path) -> Iterator[Path]:
    for source in _SOURCES:
        found = (root / source, *(root / source).rglob("*"))
        yield from sorted(each for each in found if each.is_file() and each.suffix != ".pyc")


@dataclass(frozen=True, slots=True)
class Builder:
    """buildah, with its layers in `folder`, and in `scratch` what it mounts."""

    folder: Path
    scratch: Path

    def build(self, target: Path) -> None:
        """Writes the archive of all images to `target`, whole or not at all."""
        layout = self._emptied("layout")
        for tag, (dockerfile, stage) in _TARGETS.items():
            say(f"building {tag} …")
            which = (f"--target={stage}", f"--build-arg=BASE={_BASE}")
            self._build(tag, ROOT / dockerfile, ROOT, *which)
            self._buildah("push", tag, f"oci:{layout}:{tag}")
        self._buildah("rmi", "--prune", "--force")  # what older sources left
        partial = self.folder / "partial"  # one name: what is killed here is written over
        output("tar", "-cf", str(partial), "-C", str(layout), ".")
        partial.rename(target)
        shutil.rmtree(layout)

    def have_base(self) -> None:
        """Makes the base if need be, and sees whether what its pip needs can be reached."""
        self._buildah("rm", "--all")  # what a build that was killed left
        if _BASE not in self._buildah("images", "--format={{.Name}}:{{.Tag}}").split():
            self._make_base()
        context = self._emptied("context")
        (context / "Dockerfile").write_text(f"FROM {_BASE}\n{_REACHING}\n")
        self._build(_PROBE, context / "Dockerfile", context, "--no-cache")
        self._buildah("rmi", _PROBE)

    def _make_base(self) -> None:
        say(f"making {_BASE} with debootstrap …")
        rootfs, context = self._emptied("rootfs"), self._emptied("context")
        output("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _RELEASE, str(rootfs))
        (rootfs / "usr" / "bin" / "python").symlink_to("python3")
        without = (f"--exclude=./{each}/*" for each in _UNREAD)
        output("tar", "-cf", f"{context}/rootfs.tar", "-C", str(rootfs), *without, ".")
        (context / "Dockerfile").write_text(_BASE_DOCKERFILE)
        self._build(_BASE, context / "Dockerfile", context)
        shutil.rmtree(rootfs)

    def _build(self, tag: str, dockerfile: Path, context: Path, *options: str) -> None:
        how = ("--layers", "--isolation=chroot", "--pull=never", f"--tag={tag}")
        trust = (f"--volume={_TRUST}:{_TRUST}:ro",) if _TRUST.exists() else ()
        self._buildah("build", *how, *trust, *options, f"--file={dockerfile}", str(context))

    def _buildah(self, *arguments: str) -> str:
        places = (f"--root={self.folder}/store", f"--runroot={self.scratch}/buildah")
        return output("buildah", "--storage-driver=overlay", *places, *arguments)

    def _emptied(self, name: str) -> Path:
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder


if __name__ == "__main__":
    try:
        if sys.argv[1:]:
            build(Path(sys.argv[1]))
        else:
            have_base()
    except Unavailable as reason:
        sys.exit(str(reason))
