"""Which folder a Filesystem Bucket gets."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from pannier_gateway.backing import folder_of
from pannier_gateway.config.model import BucketConfig, FilesystemConfig
from pannier_gateway.config.render import render
from pannier_gateway.errors import StoreUnavailable
from pannier_gateway.settings import Settings, parse_settings
from support.manifests import bucket, parsed, usecase

UNCLAIMED: dict[str, object] = {}
CLAIMED: dict[str, object] = {"filesystem": {"claimName": "disk"}}


def configured(spec: dict[str, object]) -> BucketConfig:
    manifests = parsed(bucket(**spec), usecase())
    config, _ = render(manifests.buckets, manifests.usecases, 1)
    return config.buckets["default/main"]


def settings(root: Path, *more: str) -> Settings:
    arguments = ["--manifests", "any.yaml", "--data-dir", str(root / "data"), *more]
    return parse_settings(arguments, {})


def test_a_bucket_without_a_claim_lives_in_the_data_directory(tmp_path: Path) -> None:
    mounted = settings(tmp_path, "--claims-dir", str(tmp_path))

    assert folder_of(configured(UNCLAIMED), mounted) == tmp_path / "data/default/main"


def test_a_claim_is_no_matter_where_none_are_mounted(tmp_path: Path) -> None:
    assert folder_of(configured(CLAIMED), settings(tmp_path)) == tmp_path / "data/default/main"


def test_a_bucket_with_a_claim_lives_on_it(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    mounted = settings(tmp_path, "--claims-dir", str(tmp_path))

    assert folder_of(configured(CLAIMED), mounted) == tmp_path / "disk/default/main"


def test_a_claim_that_is_not_mounted_is_not_made_up(tmp_path: Path) -> None:
    mounted = settings(tmp_path, "--claims-dir", str(tmp_path))

    with pytest.raises(StoreUnavailable, match=r"claim disk is not mounted at .*/disk"):
        folder_of(configured(CLAIMED), mounted)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0"])
def test_a_name_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    mounted = settings(tmp_path, "--claims-dir", str(tmp_path))
    plain, claimed = configured(UNCLAIMED), configured(CLAIMED)

    for found in (
        replace(plain, name=name),
        replace(plain, namespace=name),
        replace(claimed, filesystem=FilesystemConfig(claim=name)),
    ):
        with pytest.raises(StoreUnavailable, match="is no name"):
            folder_of(found, mounted)
