"""The sockets that a gateway listens on, and what has to be so before it may."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

from pannier_gateway.api.pages import Hosts, any_host, loopback_hosts
from pannier_gateway.settings import Address, SettingsError

LONGEST_PATH = 107  # bytes, on Linux


def hosts_of(listener: socket.socket, asked: Address) -> Hosts:
    """On loopback a browser of this machine is a neighbour; elsewhere names are the network's."""
    loopback = ip_address(listener.getsockname()[0]).is_loopback
    return loopback_hosts(asked.host) if loopback else any_host


def bind(address: Address, option: str, *, shared: bool = False) -> socket.socket:
    """A socket there, `shared` with others that are. Raises SettingsError when it can't be had."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        mend = "choose another address; port 0 takes a free one"
        raise SettingsError(f"{option} {address}: {error.strerror}: {mend}") from error
    return listener


def bind_path(path: Path) -> socket.socket:
    """Raises SettingsError when the path can't be had."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        free(path)
        listener.bind(str(path))
        path.chmod(0o666)  # whoever the pod's containers run as
    except OSError as error:
        listener.close()
        raise SettingsError(f"--socket {path}: {error.strerror or error}") from error
    return listener


def free(path: Path) -> None:
    """Clear away a socket that a dead process left. Raises SettingsError where that is not it."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise SettingsError(f"--socket {path}: a socket's path has {LONGEST_PATH} bytes at most")
    if not path.is_socket():
        if path.exists():
            raise SettingsError(f"--socket {path}: something else is there: choose another path")
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # alive, with many waiting already
    raise SettingsError(f"--socket {path}: another process listens on it")


@contextmanager
def ours(path: Path) -> Iterator[None]:
    """Take the socket at `path` away at the end, unless it is another one by then.

    That comes before the listener is closed: from then on a successor may have the path.
    """
    made = path.stat()
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), made):
                path.unlink()


def url(listener: socket.socket, scheme: str = "http") -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{Address(host, port)}"
