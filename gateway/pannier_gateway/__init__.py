"""The Pannier sidecar: object storage at localhost."""
