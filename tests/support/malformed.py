"""Requests that are wrong, or look it: bytes for a raw socket, in every way that is known to us."""

from collections.abc import Sequence

from hypothesis import strategies as st

TOKEN = st.text("abcdefgXYZ0123456789-_!#$%&'*+.^`|~", min_size=1, max_size=12)
VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))
CONTROLS = st.sampled_from([chr(code) for code in range(0x20) if chr(code) != "\t"] + ["\x7f"])
METHODS = st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
KNOWN_NAMES = st.sampled_from(
    [
        *("range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"),
        *("if-range", "accept-encoding", "content-type", "content-encoding", "x-sn-expiration"),
        *("x-sn-origin", "x-sn-filename", "x-sn-size", "x-snme-", "x-snme-a", "x-os-auth"),
        *("authorization", "user-agent", "cookie", "te", "upgrade", "accept", "trailer", "via"),
    ]
)
KNOWN_VALUES = st.sampled_from(
    [
        *("bytes=0-4", "bytes=4-0", "bytes=-", "bytes=9999999999999999999999-", "items=1-2"),
        *('"x"', "*", 'W/"x"', "x", '"', ",", "Sat, 01 Jan 2000 00:00:00 GMT", "31 Feb", "0"),
        *("zstd", "identity;q=0", "*;q=0", "gzip;q=2", "zstd;q=0.0001", ";", "q=1"),
        *("ttl:1d", "tti:0", "ttl:99999999999y", "manual", "ttl:1.5.5d", "ttl:\xb5s"),
        *("%", "%zz", "%00", "%FF", "%C0%AF", "%ED%A0%80", "\xe9", 'a/b; c="\\"', "text/plain"),
        *("websocket", "h2c", "Bearer x", "objectstore-client/0.2.10", "1" * 4000),
    ]
)


@st.composite
def headers(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Headers that a parser has to let pass, whatever they mean."""
    anything = st.tuples(TOKEN.map("x-{}".format), VALUE)
    telling = st.tuples(KNOWN_NAMES, KNOWN_VALUES | VALUE)
    return draw(st.lists(telling | anything, max_size=6, unique_by=lambda pair: pair[0].lower()))


def targets(place: str) -> st.SearchStrategy[str]:
    """Targets within `place` and elsewhere, made of what a request line may hold."""
    visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)
    escapes = st.sampled_from(["%", "%2", "%2F", "%zz", "%00", "%C0%AF", "%FF", "%F0%9F%8E%92"])
    parts = st.sampled_from(["/", "//", "..", "/../", ";", "?", "&", "=", "#", ":", "_", "limit="])
    tail = st.lists(visible | escapes | parts, max_size=6).map("".join)
    elsewhere = st.sampled_from(
        [
            "/",
            "/v1/objects/",
            "/v1/objects/plain/",
            "/v1/objects:batch/",
            "/health",
            "/v1/objects//",
        ]
    )
    return st.builds(str.__add__, st.just(place) | elsewhere, tail)


def request(
    method: str, target: str, fields: Sequence[tuple[str, str]], body: bytes = b""
) -> bytes:
    """A request as its parts say."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


@st.composite
def well_formed(draw: st.DrawFn, place: str) -> bytes:
    """A complete request whose every part may be nonsense."""
    fields = [("host", "x"), *draw(headers())]
    body = draw(st.binary(max_size=2000))
    framing = draw(st.sampled_from(["none", "length", "chunks"]))
    method, target = draw(METHODS), draw(targets(place))
    if framing == "none":
        return request(method, target, fields)
    if framing == "length":
        return request(method, target, [*fields, ("content-length", str(len(body)))], body)
    return request(method, target, [*fields, ("transfer-encoding", "chunked")], draw(chunks(body)))


@st.composite
def chunks(draw: st.DrawFn, body: bytes) -> bytes:
    """`body` in chunks as odd as they may be."""
    extension = st.sampled_from([b"", b";a", b";a=b", b';a="b c"', b";" + b"x" * 500])
    out = b""
    while body:
        size = draw(st.integers(1, len(body)))
        zeros = b"0" * draw(st.integers(0, 3))
        out += b"%b%x%b\r\n%b\r\n" % (zeros, size, draw(extension), body[:size])
        body = body[size:]
    return out + draw(
        st.sampled_from([b"0\r\n\r\n", b"000\r\n\r\n", b"0;a\r\n\r\n", b"0\r\na: b\r\n\r\n"])
    )


# Heads that must be refused

LONG = 9000  # more than a line may have


def bad_request_lines(target: str) -> st.SearchStrategy[str]:
    lines = ["{0}", "GET", "", "GET {0} HTTP/1.2", "GET {0} HTTP/11", "GET {0} http/1.1"]
    lines += ["GET {0} HTTP/1.1 x", "GET {0}x y HTTP/1.1", "GET\t{0} HTTP/1.1", " GET {0} HTTP/1.1"]
    lines += ["get {0} HTTP/1.1", "G T {0} HTTP/1.1", "G@T {0} HTTP/1.1", "GET x HTTP/1.1"]
    lines += [
        "GET {0}\x00 HTTP/1.1",
        "GET {0}\xe9 HTTP/1.1",
        "GET {0}\x7f HTTP/1.1",
        "\x16\x03\x01",
    ]
    lines += ["GET * HTTP/1.1", "GET http:///x HTTP/1.1", "GET {0}" + "x" * LONG + " HTTP/1.1"]
    return st.sampled_from([line.format(target) for line in lines if line])


BAD_FIELDS = st.one_of(
    st.builds(
        "{}{}: v".format, TOKEN, st.sampled_from([" ", "\t", "(", "\x00", "\xe9", "@", "x y"])
    ),
    st.builds("x-a: {}{}{}".format, TOKEN, CONTROLS, TOKEN),
    st.builds("x-a: {}\r\n{}{}".format, TOKEN, st.sampled_from([" ", "\t"]), TOKEN),
    TOKEN,
    VALUE.map(": {}".format),
    st.sampled_from([" first: folded", "host: again", "content-type: a/b\r\ncontent-type: c/d"]),
    st.sampled_from(["x" * LONG + ": y", "x: " + "y" * LONG, "\r\n".join(["x: y"] * 200)]),
)

NO_LENGTHS = ["-1", "+5", "5 5", "0x5", "5,5", "5, 5", "", "1e3", "5.0", "_5", "\xb2", "9" * 19]
NO_LENGTHS += ["18446744073709551615", "18446744073709551616", "0" * 30 + "5", "9" * 5000]
NO_ENCODINGS = ["", "identity", "gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked"]
NO_ENCODINGS += [
    "xchunked",
    "chunked;q=1",
    '"chunked"',
    "chunked\x0b",
    "\x0bchunked",
    "chunked\x00",
]
AMBIGUOUS = [
    *([("content-length", text)] for text in NO_LENGTHS),
    *([("transfer-encoding", text)] for text in NO_ENCODINGS),
    [("content-length", "5"), ("transfer-encoding", "chunked")],
    [("transfer-encoding", "chunked"), ("content-length", "5")],
    [("content-length", "5"), ("Content-Length", "5")],
    [("content-length", "5"), ("content-length", "6")],
    [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
    [("transfer-encoding", "chunked"), ("transfer-encoding", "identity")],
    [("transfer-encoding", "identity"), ("transfer-encoding", "chunked")],
    [("content-length", "5"), ("transfer-encoding", "identity")],
    [("content-length", "5"), ("transfer-encoding", "")],
    [("transfer-encoding ", "chunked"), ("content-length", "5")],
    [("x-a", "b\r\n transfer-encoding: chunked"), ("content-length", "5")],
    [("x-a", "b\ntransfer-encoding: chunked"), ("content-length", "5")],
    [("x-a", "b\rtransfer-encoding: chunked"), ("content-length", "5")],
]
"""Framings that two servers in a row could read in two ways."""


@st.composite
def malformed(draw: st.DrawFn, target: str) -> bytes:
    """A request with one thing wrong in its head."""
    fields = [f"{name}: {value}" for name, value in draw(headers())]
    line, host = f"{draw(METHODS)} {target} HTTP/1.1", "host: x"
    match draw(st.sampled_from(["line", "host", "field", "field", "field"])):
        case "line":
            line = draw(bad_request_lines(target))
        case "host":
            host = "x-no-host: x"
        case _:
            fields.insert(draw(st.integers(0, len(fields))), draw(BAD_FIELDS))
    return "\r\n".join([line, host, *fields, "", ""]).encode("latin-1")


@st.composite
def broken_chunks(draw: st.DrawFn) -> bytes:
    """Some proper chunks, then something that is none."""
    good = draw(st.lists(st.binary(min_size=1, max_size=300), max_size=3))
    begun = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in good)
    return begun + draw(
        st.sampled_from(
            [
                *(b"zz\r\nx\r\n0\r\n\r\n", b"-1\r\nx\r\n0\r\n\r\n", b"+1\r\nx\r\n0\r\n\r\n"),
                *(b"0x1\r\nx\r\n0\r\n\r\n", b" 1\r\nx\r\n0\r\n\r\n", b"1 \r\nx\r\n0\r\n\r\n"),
                *(b"1\nx\n0\n\n", b"1\rx\r0\r\r", b"1\r\nx0\r\n\r\n", b"1\r\nxy\r\n0\r\n\r\n"),
                *(b"\r\nx\r\n0\r\n\r\n", b"1" * 17 + b"\r\nx", b"f" * 16 + b"f\r\n", b";a\r\n\r\n"),
                *(
                    b"1;\x00\r\nx\r\n0\r\n\r\n",
                    b"1;a\nb\r\nx\r\n0\r\n\r\n",
                    b"\xb2\r\nxx\r\n0\r\n\r\n",
                ),
                *(b"0\r\nno trailer\r\n\r\n", b"0\r\n: x\r\n\r\n", b"0\r\na b: x\r\n\r\n"),
                *(b"0\r\nx: \x00\r\n\r\n", b"0\r\nx: y\r\n z\r\n\r\n", b"0\r\nx: " + b"y" * LONG),
                *(b"0\r\n" + b"x: y\r\n" * 200 + b"\r\n", b"0\r\nhost: x\r\n y\r\n\r\n"),
            ]
        )
    )


@st.composite
def mutated(draw: st.DrawFn, place: str) -> bytes:
    """A request with some of its bytes changed, lost or doubled."""
    whole = bytearray(draw(well_formed(place)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(whole) - 1))
        stop = at + draw(st.sampled_from([0, 0, 1, 1, 2, 8]))
        telling = st.sampled_from([b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"\xff", b"0", b"\t"])
        whole[at:stop] = draw(telling | st.binary(max_size=3))
    return bytes(whole) or b"\r\n"


@st.composite
def split(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """`data` in pieces."""
    cuts = sorted(draw(st.sets(st.integers(0, len(data)), max_size=4)))
    return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]
