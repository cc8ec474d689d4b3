"""Key pairs, from Secrets and from the surroundings."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from pannier_gateway.errors import StoreRefused
from pannier_gateway.stores.s3 import credentials
from pannier_gateway.stores.s3.credentials import Ambient, Anonymous, CredentialSource, FromSecret
from pannier_gateway.stores.s3.signing import Credentials
from pannier_gateway.stores.secrets import EitherSecrets, ManifestSecrets, MountedSecrets


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "LOOK_AGAIN_SECONDS", 0.0)


def mounted(folder: Path, **keys: str) -> FromSecret:
    (folder / "s").mkdir(exist_ok=True)
    for key, text in keys.items():
        (folder / "s" / key).write_text(text)
    return FromSecret(MountedSecrets(folder), "s", "id", "secret")


async def test_a_pair_is_read_from_files_without_their_line_ends(tmp_path: Path) -> None:
    source = mounted(tmp_path, id="a\n", secret="b\n")

    assert await source.current() == Credentials("a", "b")


async def test_a_pair_that_changes_is_read_again(tmp_path: Path) -> None:
    source = mounted(tmp_path, id="a", secret="b")
    await source.current()

    mounted(tmp_path, id="c", secret="d")

    assert await source.current() == Credentials("c", "d")


@pytest.mark.parametrize("half", [{"id": ""}, {"secret": " \n"}])
async def test_half_a_pair_leaves_the_last_good_one_in_force(
    tmp_path: Path, half: dict[str, str]
) -> None:
    source = mounted(tmp_path, id="a", secret="b")
    await source.current()

    mounted(tmp_path, **half)
    assert await source.current() == Credentials("a", "b")

    (tmp_path / "s" / "id").unlink()
    assert await source.current() == Credentials("a", "b")


async def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    source = FromSecret(MountedSecrets(tmp_path), "lost", "id", "secret")

    with pytest.raises(StoreRefused, match="lost/id"):
        await source.current()


async def test_anonymous_is_nobody() -> None:
    source: CredentialSource = Anonymous()

    assert await source.current() is None


async def test_the_surroundings_are_asked_through_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t")

    assert await Ambient().current() == Credentials("a", "b", "t")


async def test_surroundings_that_give_nothing_are_told_of() -> None:
    with pytest.raises(StoreRefused, match="mode: Ambient"):
        await Ambient(lambda: None).current()


async def test_temporary_pairs_are_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "ASK_AGAIN_SECONDS", 0.0)
    frozen = [SimpleNamespace(access_key=name, secret_key="s", token="t") for name in "yx"]
    provider = SimpleNamespace(get_frozen_credentials=frozen.pop)
    source = Ambient(lambda: provider)

    assert [(await source.current()).access_key for _ in range(2)] == ["x", "y"]


def test_secrets_are_taken_from_where_they_are_mounted_first(tmp_path: Path) -> None:
    (tmp_path / "secrets" / "s").mkdir(parents=True)
    (tmp_path / "secrets" / "s" / "k").write_bytes(b"mounted")
    (tmp_path / "config-maps" / "ca").mkdir(parents=True)
    (tmp_path / "config-maps" / "ca" / "ca.crt").write_bytes(b"bundle")
    contents = {"ns/s": {"k": b"manifest", "only": b"here"}, "other/s": {"k": b"foreign"}}
    places = EitherSecrets(
        MountedSecrets(tmp_path / "secrets"), ManifestSecrets(lambda: contents, "ns")
    )

    assert places.read("s", "k") == b"mounted"
    assert places.read("s", "only") == b"here"
    assert places.read("ca", "ca.crt") == b"bundle"
    with pytest.raises(StoreRefused, match="ns/none"):
        places.read("none", "k")
    with pytest.raises(StoreRefused, match="--secrets-dir"):
        EitherSecrets().read("s", "k")
