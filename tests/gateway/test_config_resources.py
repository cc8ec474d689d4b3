"""What the parser takes, what it says against the rest, and where."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pannier_gateway.config.documents import documents, read
from pannier_gateway.config.problems import ManifestErrors
from pannier_gateway.config.resources import BUCKET, USECASE, changes, load, parse, parse_files
from support.manifests import (
    JSON,
    bucket,
    damaged,
    manifests,
    parsed,
    placed,
    refusal,
    usecase,
)

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))

SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}}
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}}
WITH_CONTENT = st.dictionaries(st.text(), st.text(st.characters())).map(
    lambda data: SECRET | {"data": data, "stringData": data}
)
ANYTHING = st.one_of(
    JSON, damaged(manifests(USECASE)), damaged(manifests(BUCKET)), damaged(WITH_CONTENT)
)
TOKENS = [
    "a", "kind", ": ", "\n", "\n---\n", "- ", "  ", "&x ", "*x", "<<", "{", "}", "[", "]", ",", '"',
    "!!int ", "!!timestamp ", "!x ", "|", "\t", "=", "2026-01-31", ".inf", "\x00", '"\\ud800"',
    "0x", "{a: 1, a: 2}", "%", "@", "\ufeff", "1:30", "?",
]  # fmt: skip
YAML = st.lists(st.sampled_from(TOKENS)).map("".join)


def text_problems(text: str, name: str = "test.yaml") -> list[str]:
    try:
        parse(documents([(name, text.encode())]))
    except ManifestErrors as errors:
        return str(errors).splitlines()
    return []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_accepted(path: Path) -> None:
    assert load(path).usecases


def test_all_problems_of_all_documents_come_at_once_each_with_its_place() -> None:
    wrong = usecase(compresion="Zstd", defaults={"compressionLevel": 99}, suspend="No")
    also_wrong = bucket(type="S3", s3={"bucket": "ab"}, prefix="a//b")

    unknown, *others = refusal(wrong, also_wrong)

    assert unknown.startswith(
        "test.yaml: document 1: spec.compresion: unknown field; the fields here"
    )
    assert others == [
        f"test.yaml: document {problem}"
        for problem in (
            "1: spec.defaults.compressionLevel: Invalid value: should be less than or equal to 19",
            '1: spec.suspend: Unsupported value: "No": supported values: "None", "Writes", "All"',
            "2: spec.s3.region: Required value",
            "2: spec.s3.bucket: Invalid value: should be at least 3 chars long",
            (
                "2: spec.prefix: Invalid value: should match '^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$'"
                " (What the path of every object in the store begins with;"
                " the slash behind it is added.)"
            ),
        )
    ]


def upstream(endpoint: str, server_name: str) -> dict[str, object]:
    tls = {"serverName": server_name}
    return bucket(type="Upstream", endpoints=[endpoint], allowPlaintext=True, tls=tls)


@pytest.mark.parametrize("name", ["s3.example.com", "Store_1", "10.0.0.1", "fd00::1", "a" * 63])
def test_a_server_is_named_as_certificates_name_it(name: str) -> None:
    host = f"[{name}]" if ":" in name else name

    for endpoint in (f"https://{host}", f"http://{host}:9000"):
        assert parsed(upstream(endpoint, name)).buckets


@pytest.mark.parametrize("name", [".x", "x.", "a..b", "a b", "*.x", "é", "a" * 64, "x:y", "x\n"])
def test_a_name_that_no_server_can_have_is_refused_with_what_it_is(name: str) -> None:
    (said,) = refusal(upstream("https://x", name))

    assert "spec.tls.serverName: Invalid value: should match" in said
    assert said.endswith(
        "(The name or the address that the store's certificate must have. "
        "Absent: the host in the endpoint.)"
    )


@pytest.mark.parametrize(
    "place",
    ["", ".x", "a..b", ":9000", "[", "[]", "[x]", "a:", "a:123456", "a:b", "a/", "é", "a" * 64],
)
def test_an_endpoint_that_is_no_place_is_refused_with_what_one_is(place: str) -> None:
    (said,) = refusal(upstream(f"https://{place}", "x"))

    assert "spec.endpoints[0]: Invalid value: should match" in said
    assert said.endswith("such as https://s3.example.com:9000.)")


def test_a_rule_is_judged_where_its_part_is_sound_though_others_are_not() -> None:
    (limits, after) = refusal(
        usecase(limits={}, defaults={"expiration": {"policy": "Manual", "after": "3d"}})
    )

    assert "spec.limits: Invalid value: should have at least 1 properties" in limits
    assert "spec.defaults.expiration: Invalid value: after is required for" in after


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"limits": 7}, "spec.limits: Invalid value: must be of type object, not integer"),
        ({"suspend": True}, "spec.suspend: Invalid value: must be of type string, not boolean"),
        ({"limits": {"maxObjectBytes": 1.5}}, "must be of type integer, not number"),
        ({"limits": {"maxObjectBytes": True}}, "must be of type integer, not boolean"),
        ({"limits": {"maxObjectBytes": 0}}, "should be greater than or equal to 1"),
        ({"limits": {"maxObjectBytes": None}}, "should have at least 1 properties"),
        ({"allowedExpirations": []}, "should have at least 1 items"),
        ({"allowedExpirations": [{"policy": "Manual"}] * 4}, "Too many: 4: must have at most 3"),
        ({"allowedExpirations": [None]}, "[0]: Invalid value: must be of type object, not null"),
        ({"name": "a" * 65}, "spec.name: Too long: may not be more than 64 chars long"),
        ({"name": "abc\n"}, "spec.name: Invalid value: should match"),
        ({"bucketRef": {"name": "\ud800"}}, "must be Unicode text, without lone surrogates"),
    ],
)
def test_a_value_out_of_bounds_is_refused_where_it_stands(
    spec: dict[str, object], says: str
) -> None:
    (problem,) = refusal(usecase(**spec))

    assert says in problem


def test_null_is_a_field_left_out_and_a_whole_float_an_integer() -> None:
    (found,) = parsed(usecase(suspend=None, name=None, limits={"maxObjectBytes": 3.0})).usecases

    assert (found.spec.suspend, found.spec.name) == ("None", None)
    assert found.spec.limits is not None
    assert repr(found.spec.limits.max_object_bytes) == "3"


def test_no_message_repeats_what_may_be_a_secret() -> None:
    store = {"bucket": "abc", "region": "x"}
    endpoint = "https://me:hunter2@minio:9000"
    secret = SECRET | {"data": {"token": "hunter2!"}, "stringData": {"other": ["hunter2"]}}

    problems = refusal(bucket(type="S3", s3=store, endpoints=[endpoint, endpoint]), secret, secret)

    assert len(problems) == 6
    assert "hunter2" not in "".join(problems)


def test_a_problem_is_one_line_whatever_the_keys() -> None:
    (problem,) = refusal(usecase() | {"forged\ntest.yaml: \ud800": 1})

    assert problem.startswith(r"test.yaml: document 1: forged\ntest.yaml: \ud800: unknown field")


def test_metadata_as_a_cluster_hands_it_out_is_accepted() -> None:
    whole = usecase() | {"status": {"conditions": []}}
    whole["metadata"] |= {
        "uid": "6a",
        "resourceVersion": "7",
        "generation": 2,
        "labels": {"a": "b"},
        "annotations": {"c": ""},
        "finalizers": [],
        "managedFields": [{}],
        "ownerReferences": [{}],
        "creationTimestamp": "2026-01-31T12:00:00Z",
    }

    (found,) = parsed(whole).usecases

    assert (found.metadata.key, found.metadata.uid) == ("default/attachments", "6a")


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        (None, "metadata: Required value"),
        ({}, "metadata.name: Required value"),
        ({"name": "Capital"}, "metadata.name: Invalid value: should match"),
        ({"name": "abc", "nmaespace": "x"}, "metadata.nmaespace: unknown field"),
        ({"name": "abc", "labels": {"a": 1}}, "metadata.labels.a: Invalid value: must be of type"),
        ({"name": "abc", "creationTimestamp": "yesterday"}, "must be a date and time such as"),
    ],
)
def test_metadata_a_cluster_would_refuse_is_refused(metadata: object, says: str) -> None:
    (problem,) = refusal(usecase() | {"metadata": metadata})

    assert says in problem


def test_the_same_resource_twice_is_refused_with_both_places() -> None:
    again = placed(usecase(), "default")

    (problem,) = refusal(usecase(), bucket(), again, placed(usecase(), "elsewhere"))

    assert problem == (
        "test.yaml: document 3: metadata.name: Duplicate value: already declared in"
        " test.yaml: document 1: Usecase default/attachments; rename one of the two"
    )


def test_files_that_clash_are_both_named_with_what_to_do() -> None:
    folder = EXAMPLES[0].parent  # whose files are alternatives

    with pytest.raises(ManifestErrors) as refused:
        load(folder)

    assert str(refused.value).splitlines()[0] == (
        f"{folder}/quickstart.yaml: document 2: metadata.name: Duplicate value: already declared in"
        f" {folder}/hub.yaml: document 2: Usecase default/attachments;"
        " rename one of the two, or give one of the files alone"
    )


def test_secrets_and_config_maps_are_kept_apart_and_not_shown() -> None:
    secret = SECRET | {"data": {"a": "aHVudGVyMg=="}, "stringData": {"b": "hunter2"}}
    config_map = CONFIG_MAP | {"data": {"ca.crt": "PEM"}, "binaryData": {"der": "MIIB"}}

    found = parsed(secret, config_map, usecase())

    assert found.secrets == {"default/keys": {"a": b"hunter2", "b": b"hunter2"}}
    assert found.config_maps == {"default/ca": {"ca.crt": b"PEM", "der": b"0\x82\x01"}}
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize("text", ["hunter2!", "hünter", "aGk"])
def test_a_secret_that_is_not_base64_is_refused_without_being_shown(text: str) -> None:
    assert refusal(SECRET | {"data": {"token": text}}) == [
        "test.yaml: document 1: data.token: Invalid value: must be base64"
    ]


def test_a_list_is_what_it_lists() -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [usecase(), bucket(), bucket(tipe="x")]}

    unknown, twice = refusal(listed)

    assert unknown.startswith(
        "test.yaml: document 1: items[2].spec.tipe: unknown field; the fields"
    )
    assert twice == (
        "test.yaml: document 1: items[2].metadata.name: Duplicate value: already declared in"
        " test.yaml: document 1: items[1]: Bucket default/main; rename one of the two"
    )


def test_somebody_elses_kinds_are_ignored_by_name() -> None:
    found = parsed({"apiVersion": "apps/v1", "kind": "Deployment"}, usecase())

    assert found.ignored == ("test.yaml: document 1: apps/v1 Deployment",)
    assert found.usecases


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (usecase() | {"kind": "Usecas"}, "kind: Unsupported value: pannier.dev/v1alpha1 Usecas"),
        (
            usecase() | {"apiVersion": "pannier.dev/v9"},
            "supported values: pannier.dev/v1alpha1 Use",
        ),
        ({"kind": "Usecase"}, "a manifest has an apiVersion and a kind"),
        ({"apiVersion": "v1", "kind": "List"}, "items: Required value"),
        ([usecase()], "a manifest has an apiVersion and a kind"),
    ],
)
def test_what_is_no_manifest_of_ours_nor_of_others_is_refused(value: object, says: str) -> None:
    (problem,) = refusal(value)

    assert says in problem


def test_syntax_errors_tell_line_and_document_and_the_rest_is_still_judged() -> None:
    found = text_problems("kind: 1\n---\na: [1\nb: 2\n")

    assert found[0] == (
        "test.yaml: document 1: Required value: a manifest has an apiVersion and a kind"
    )
    assert found[1].startswith("test.yaml: document 2: is not YAML: line 4, column ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: {c: 1, c: 2}\n", "line 2, column 11: key 'c' is given twice in one mapping"),
        ("[a]: 1\n", "line 1, column 1: a key must be text"),
        ("a: !!python/object:os.system x\n", "line 1, column 4: could not determine"),
        ("a: " + "9" * 5000, "line 1, column 4: cannot be read as int"),
        ("a: !!int 1:30", "line 1, column 4: cannot be read as int"),
        ("a: !!float 1" + ":1" * 9999 + ".5", "line 1, column 4: cannot be read as float"),
        ("[" * 65, "line 1, column 65: nested more than 64 deep"),
        ("- " * 100_000, "nested more than 64 deep"),
        ("[" * 100_000, "nested more than 64 deep"),
        ("{a: " * 100_000, "nested more than 64 deep"),
        ("a: &x [*x]", "line 1, column 8: alias 'x' has no value yet"),
        ("a: *x", "alias 'x' has no value yet"),
        ("a: &x 1\n---\nb: *x", "document 2: is not YAML: line 3, column 4: alias 'x' has no val"),
        ("&x a: 1", "a key must be text, without an anchor or alias"),
        ("a: !!seq {}", "could not determine a constructor for the tag"),
        ("<<: [{a: 1}, b]", "line 1, column 1: << takes a mapping or a list of mappings"),
    ],
)
def test_yaml_that_surprises_is_refused(text: str, says: str) -> None:
    problem = text_problems(text)[-1]

    assert says in problem


@pytest.mark.parametrize("link", ["[*x{0}, *x{0}]", "{{<<: [*x{0}, *x{0}], k{0}: 1}}"])
def test_a_few_lines_that_stand_for_more_than_memory_holds_are_refused(link: str) -> None:
    lines = ["- &x0 {a: 1}", *(f"- &x{n + 1} {link.format(n)}" for n in range(40))]

    (problem,) = text_problems("\n".join(lines))

    assert "aliases stand for more than 250000 values in all" in problem


def test_what_aliases_stand_for_counts_over_all_documents_of_a_file() -> None:
    document = "a: &x [" + "1, " * 999 + "]\nb: [" + "*x, " * 100 + "]\n"

    problem = text_problems("---\n".join([document] * 3))[-1]

    assert "document 3: is not YAML: " in problem


def test_as_many_documents_as_somebody_may_write_are_no_nesting() -> None:
    found = [*documents([("test.yaml", b"a: [[[1]]]\n---\n" * 100)])]

    assert len(found) == 100


def test_dates_and_merged_keys_are_what_kubectl_takes_them_for() -> None:
    text = """\
x: &base {a: 2026-01-31, b: 1}
y: {<<: *base, b: 2, on: yes}
z: {b: 3, <<: [{c: 4}, *base, {c: 5, d: <<}], "=": 7}
"""

    (found,) = documents([("test.yaml", text.encode())])

    assert found.value == {  # type: ignore[union-attr]  # it is a document
        "x": {"a": "2026-01-31", "b": 1},
        "y": {"a": "2026-01-31", "b": 2, "on": True},
        "z": {"a": "2026-01-31", "b": 3, "c": 4, "d": "<<", "=": 7},
    }


@pytest.mark.parametrize("text", ["1:30", "-190:20:30", "1" + ":1" * 100_000, "1:30.5"])
def test_what_looks_like_a_time_is_text_as_for_kubectl(text: str) -> None:
    (found,) = documents([("test.yaml", f"[{text} , 90]".encode())])

    assert found.value == [text, 90]  # type: ignore[union-attr]  # it is a document


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "a": 2}', "key 'a' is given twice in one object"),
        ('{"a":\n}', "line 2 column 1"),
        ("[" * 100_000, "is not JSON: "),
    ],
)
def test_json_that_surprises_is_refused(text: str, says: str) -> None:
    (problem,) = text_problems(text, "test.json")

    assert says in problem


def test_a_directory_is_its_manifest_files_sorted_and_not_what_is_below(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text("b: 1", encoding="utf-8")
    (tmp_path / "elsewhere").write_text("a: 1", encoding="utf-8")
    (tmp_path / "a.yaml").symlink_to("elsewhere")
    (tmp_path / "c.json").write_text("{}", encoding="utf-8")
    (tmp_path / ".hidden.yaml").write_text("h: 1", encoding="utf-8")
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")  # to read it would wait for somebody to write

    assert [Path(name).name for name, _ in read(tmp_path)] == ["a.yaml", "b.yml", "c.json"]


def test_a_dangling_link_is_an_error_and_not_a_file_less(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("", encoding="utf-8")
    (tmp_path / "b.yaml").symlink_to("nowhere")

    with pytest.raises(ManifestErrors, match=r"b\.yaml.*: cannot be read: No such file"):
        read(tmp_path)


def test_a_directory_without_manifests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestErrors, match=r"holds no \.yaml, \.yml or \.json file"):
        load(tmp_path)


@pytest.mark.parametrize("data", [b"", b"# soon\n---\n", b"apiVersion: v1\nkind: Pod\n"])
def test_manifests_without_anything_for_a_gateway_are_refused(data: bytes) -> None:
    with pytest.raises(ManifestErrors, match="no Usecase and no Bucket of pannier"):
        parse_files((("test.yaml", data),))


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ManifestErrors, match="is not UTF-8: byte 1 cannot be read"):
        parse_files((("test.yaml", b"a\xff"),))


@given(ANYTHING, st.integers())
def test_no_object_makes_the_parser_stumble(value: object, number: int) -> None:
    wrapped = {"apiVersion": "v1", "kind": "List", "items": [value, value, number]}

    assert all(line.startswith("test.yaml: document ") for line in refusal(value, wrapped))


@given(YAML | st.text(), st.sampled_from(["test.yaml", "test.json"]))
@example("- &x [*x]", "test.yaml")
@example("a: !!int ''", "test.yaml")
@example("apiVersion: v1\nkind: List\nitems: &x [*x]", "test.yaml")
def test_no_text_makes_the_parser_stumble(text: str, name: str) -> None:
    assert all(
        line.startswith(name)
        for line in text_problems(text.encode("utf-8", "ignore").decode(), name)
    )


@given(manifests(USECASE))
def test_nothing_changes_without_a_change(value: dict[str, object]) -> None:
    if not refusal(value):
        (found,) = parsed(value).usecases
        assert changes(found, found) == []
