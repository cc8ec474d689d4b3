"""The one version of the package, which requests name too."""

__version__ = "0.1.0"
