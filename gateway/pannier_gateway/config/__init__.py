"""From manifests to what the gateway obeys: parsed, rendered, versioned, watched.

The operator and the gateway both stand on it, so it imports no HTTP, no store and no codec.
"""
