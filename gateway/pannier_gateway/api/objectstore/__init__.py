"""The native door: the objectstore protocol, version 1, and what we add to it."""

from pannier_gateway.api.objectstore.door import Door, anybody

__all__ = ["Door", "anybody"]
