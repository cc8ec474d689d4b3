"""Key pairs, from Secrets and from the surroundings."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pannier_gateway.errors import StoreRefused
from pannier_gateway.stores.s3 import credentials
from pannier_gateway.stores.s3.credentials import Ambient, Anonymous, CredentialSource, FromSecret
from pannier_gateway.stores.s3.signing import Credentials
from pannier_gateway.stores.secrets import EitherSecrets, ManifestSecrets, MountedSecrets


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "LOOK_AGAIN_SECONDS", 0.0)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Surroundings that give nothing but what this writes."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return (tmp_path / "config").write_text


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

    with pytest.raises(StoreRefused, match="lost/id: create the Secret lost with key id,"):
        await source.current()


async def test_anonymous_is_nobody() -> None:
    source: CredentialSource = Anonymous()

    assert await source.current() is None


async def test_the_surroundings_are_asked_through_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t")

    assert await Ambient().current() == Credentials("a", "b", "t")


@pytest.mark.usefixtures("bare")
async def test_surroundings_that_give_nothing_are_told_of() -> None:
    with pytest.raises(StoreRefused, match="give the pod an identity"):
        await Ambient().current()


@pytest.mark.usefixtures("bare")
async def test_a_profile_that_is_unknown_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    with pytest.raises(StoreRefused, match=r"mode: Ambient.*nobody"):
        await Ambient().current()


async def test_surroundings_that_fail_are_told_of_and_looked_at_anew(
    bare: Callable[[str], object],
) -> None:
    source = Ambient()
    bare("[default]\ncredential_process = false\n")
    with pytest.raises(StoreRefused, match="mode: Ambient") as caught:
        await source.current()
    assert type(caught.value.__cause__).__name__ == "CredentialRetrievalError"

    bare("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")

    assert await source.current() == Credentials("a", "b")


@pytest.mark.usefixtures("bare")
async def test_a_web_identity_without_its_token_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/lost/token")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r")

    with pytest.raises(StoreRefused, match="/lost/token"):
        await Ambient().current()


async def test_temporary_pairs_are_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "ASK_AGAIN_SECONDS", 0.0)
    pairs = [Credentials(name, "s", "t") for name in "yx"]
    source = Ambient(lambda: pairs.pop)

    assert [(await source.current()).access_key for _ in range(2)] == ["x", "y"]


async def test_surroundings_that_begin_to_fail_leave_the_last_good_pair_in_force(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(credentials, "ASK_AGAIN_SECONDS", 0.0)
    answers = iter([Credentials("a", "b"), None, Credentials("c", "d")])

    def ask() -> Credentials:
        pair = next(answers)
        if pair is None:
            raise StoreRefused("not now")
        return pair

    source = Ambient(lambda: ask)

    assert [(await source.current()).access_key for _ in range(3)] == ["a", "a", "c"]


async def test_of_many_who_wait_one_asks() -> None:
    asked: list[Credentials] = []

    def ask() -> Credentials:
        asked.append(Credentials("a", "b"))
        return asked[-1]

    source = Ambient(lambda: ask)
    pairs = await asyncio.gather(*(source.current() for _ in range(50)))

    assert pairs == asked * 50


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
