import gzip

import pytest

from pannier_gateway.codec.policy import compressible, pays, worthwhile
from support import zstd_bodies


@pytest.mark.parametrize(
    "content_type",
    [
        "image/png",
        "IMAGE/JPEG",
        "video/mp4",
        "audio/mpeg; codecs=x",
        "application/zip",
        "application/gzip",
        "application/zstd",
        "application/epub+zip",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "font/woff2 ",
    ],
)
def test_types_that_are_compressed_by_nature_are_left_alone(content_type: str) -> None:
    assert not compressible(content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain; charset=utf-8",
        "application/json",
        "application/octet-stream",
        "application/pdf",
        "image/svg+xml",
        "image/bmp",
        "audio/wav",
        "font/ttf",
        "zip",
        "",
        "no type at all",
    ],
)
def test_everything_else_is_tried(content_type: str) -> None:
    assert compressible(content_type)


def test_text_pays_at_every_level() -> None:
    for level in (-5, 1, 3, 19):
        assert pays(zstd_bodies.text(100_000), level)


@pytest.mark.parametrize(
    "sample",
    [
        b"",
        zstd_bodies.noise(100_000),
        gzip.compress(zstd_bodies.text(100_000)),
        b"\x89PNG\r\n\x1a\n" + bytes(1000),
        b"PK\x03\x04" + bytes(1000),
    ],
    ids=["nothing", "noise", "gzip", "png", "zip"],
)
def test_what_is_compressed_already_does_not_pay(sample: bytes) -> None:
    assert not pays(sample, 3)


def test_only_the_first_64_kib_are_looked_at() -> None:
    assert not pays(zstd_bodies.noise(64 << 10) + bytes(10**6), 3)
    assert pays(bytes(64 << 10) + zstd_bodies.noise(10**6), 3)


def test_a_tenth_must_be_saved() -> None:
    assert worthwhile(1000, 900)
    assert not worthwhile(1000, 901)
    assert not worthwhile(0, 9)
