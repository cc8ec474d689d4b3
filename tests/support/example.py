"""examples/s3.yaml, with another store behind it."""

from support.binaries import ROOT

FILE = ROOT / "examples" / "s3.yaml"
ENDPOINT = "https://127.0.0.1:7443"
_TLS = "  tls:\n    secretRef: {name: store-identity}"


def at(url: str) -> str:
    """The example for a store at that address, and otherwise as it stands."""
    return _replaced(FILE.read_text(), ENDPOINT, url)


def plain(url: str) -> str:
    """The example for a store at that address that does without TLS."""
    return _replaced(at(url), _TLS, "  allowPlaintext: true")


def _replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"the example does not say {old!r} any more"
    return text.replace(old, new)
