"""Wire protocols: thin adapters over the object service, a folder each."""
