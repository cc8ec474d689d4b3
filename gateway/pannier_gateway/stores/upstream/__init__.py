"""Objects at another server of the objectstore protocol: a gateway, or any other."""

from pannier_gateway.stores.upstream.opening import opened
from pannier_gateway.stores.upstream.store import UpstreamStore

__all__ = ["UpstreamStore", "opened"]
