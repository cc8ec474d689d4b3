"""Object storage at localhost, one import away.

objects = pannier.Client().session("attachments", org=42)
objects.put(b"hello", "greeting")
objects.get("greeting").read()  # b'hello'
"""

from pannier.client import Client
from pannier.download import GetResult
from pannier.errors import (
    AlreadyExists,
    BadGateway,
    ConnectionFailed,
    IntegrityError,
    NotFound,
    NotModified,
    Overloaded,
    PannierError,
    PermissionDenied,
    PreconditionFailed,
    ProtocolError,
    RangeNotSatisfiable,
    RequestRefused,
    RequestTimeout,
    ServerError,
    SourceChanged,
    StorageFull,
    TooLarge,
    TransientError,
    TruncatedBody,
    Unauthenticated,
)
from pannier.listing import Listing
from pannier.patience import Retry, Timeout
from pannier.protocol.expiration import MANUAL, Expiration
from pannier.protocol.metadata import Metadata
from pannier.results import ByteRange, ObjectEntry, Page, PutResult
from pannier.session import Session
from pannier.version import __version__

__all__ = [
    "MANUAL",
    "AlreadyExists",
    "BadGateway",
    "ByteRange",
    "Client",
    "ConnectionFailed",
    "Expiration",
    "GetResult",
    "IntegrityError",
    "Listing",
    "Metadata",
    "NotFound",
    "NotModified",
    "ObjectEntry",
    "Overloaded",
    "Page",
    "PannierError",
    "PermissionDenied",
    "PreconditionFailed",
    "ProtocolError",
    "PutResult",
    "RangeNotSatisfiable",
    "RequestRefused",
    "RequestTimeout",
    "Retry",
    "ServerError",
    "Session",
    "SourceChanged",
    "StorageFull",
    "Timeout",
    "TooLarge",
    "TransientError",
    "TruncatedBody",
    "Unauthenticated",
    "__version__",
]
