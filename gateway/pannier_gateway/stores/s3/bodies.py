"""What is sent, and how the store can tell that it has these bytes.

Every body carries a checksum: without one an engine may keep a body that broke off as a whole one.
"""

import asyncio
import base64
from hashlib import md5
from typing import Literal

from awscrt.checksums import crc64nvme

from pannier_gateway.stores.base import Buffer
from pannier_gateway.stores.provision import Kept
from pannier_gateway.upstream.request import Streamed, taken

CRC64NVME = "x-amz-checksum-crc64nvme"

Body = Buffer | Kept
Checksum = Literal["crc64nvme", "md5", "none"]


async def checked(body: Body, checksum: Checksum) -> dict[str, str]:
    """The header that lets the store tell whether it has these bytes."""
    match checksum:
        case "none":
            return {}
        case "md5":
            return {"content-md5": encoded(await md5_of(body))}
    return {CRC64NVME: encoded(checksum_of(body).to_bytes(8, "big"))}


async def md5_of(body: Body) -> bytes:
    digest = md5(usedforsecurity=False)
    if isinstance(body, Buffer):
        await asyncio.to_thread(digest.update, body)
    else:
        async with taken(body) as pieces:
            async for piece in pieces:
                await asyncio.to_thread(digest.update, piece)
    return digest.digest()


def checksum_of(body: Body) -> int:
    """Its CRC64NVME."""
    return int(crc64nvme(body)) if isinstance(body, Buffer) else body.checksum


def size_of(body: Body) -> int:
    return len(body) if isinstance(body, Buffer) else body.size


def sendable(body: Body) -> Buffer | Streamed:
    return body if isinstance(body, Buffer) else Streamed(body, body.size)


def encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
