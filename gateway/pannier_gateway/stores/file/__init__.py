"""Objects on a local disk: an SQLite index that holds small bodies, and a file for each large one.

Visible is what the index names. A body is whole and on disk before the row that names it is
committed, so nothing half-written is ever seen, whenever the process ends.
"""

from pannier_gateway.stores.file.store import Durability, FileStore

__all__ = ["Durability", "FileStore"]
