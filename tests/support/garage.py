"""Garage on loopback: a single node of a store made for many, which takes conditions and ignores
them."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pannier_gateway.stores.s3.signing import Credentials
from support.engines import Engine, crate, free_port, running

OWN_KEYS = Credentials("GK1234567890abcdef12345678", "5ec7e7" * 10 + "0000")
"""It takes none of another form."""

CONFIGURATION = """
metadata_dir = "{folder}/meta"
data_dir = "{folder}/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{peers}"
rpc_public_addr = "127.0.0.1:{peers}"
rpc_secret = "{secret}"
[s3_api]
s3_region = "us-east-1"
api_bind_addr = "127.0.0.1:{port}"
root_domain = ".s3.localhost"
"""


@contextmanager
def garage(folder: Path) -> Iterator[Engine]:
    folder.mkdir(parents=True, exist_ok=True)
    port, peers, secret = free_port(), free_port(), secrets.token_hex(32)
    file = folder / "garage.toml"
    file.write_text(CONFIGURATION.format(folder=folder, peers=peers, port=port, secret=secret))
    serve = [str(crate("garage")), "-c", str(file), "server"]
    command = [*serve, "--single-node", "--default-access-key"]
    key, hidden = OWN_KEYS[:2]
    keys = {"GARAGE_DEFAULT_ACCESS_KEY": key, "GARAGE_DEFAULT_SECRET_KEY": hidden}
    with running(command, keys, f"http://127.0.0.1:{port}", folder / "log") as process:
        yield Engine("garage", port, folder, process, OWN_KEYS)
