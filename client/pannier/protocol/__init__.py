"""The wire facts that a gateway and a client share: grammar and values, no I/O, no policy."""

from pannier.protocol.malformed import Malformed

__all__ = ["Malformed"]
