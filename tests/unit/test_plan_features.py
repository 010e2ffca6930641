"""FEATURES.json: what is read, and how precisely a fault is named."""

import codecs
import json
import os
from pathlib import Path

import pytest

from stigmergy.coding.plan.features import (
    Features,
    FeaturesError,
    features_template,
    parse_features,
    read_features,
)
from stigmergy.errors import UsageError


def read(*features: object, **root: object) -> Features:
    return parse_features(json.dumps({"features": features, **root}).encode(), file="F.json")


def faults(data: bytes | str) -> list[str]:
    with pytest.raises(FeaturesError) as caught:
        parse_features(data.encode() if isinstance(data, str) else data, file="F.json")
    return str(caught.value).splitlines()


def test_every_field_arrives_in_the_item() -> None:
    features = read(
        {"id": "F1", "title": "T", "description": "D", "priority": 2, "status": "pending",
         "files": ["a.py", "b/**"], "acceptance": ["x", "y"], "category": "core"},
        {"id": "F2", "name": "N", "priority": "Low", "acceptance": "one",
         "dependencies": ["F1"]},
    )  # fmt: skip
    first, second = features.items
    assert (first.key, first.title, first.description) == ("F1", "T", "D")
    assert (first.priority, first.scope, first.category) == (2, ("a.py", "b/**"), "core")
    assert first.acceptance == ("x", "y")
    assert (second.title, second.priority, second.acceptance) == ("N", 8, ("one",))
    assert second.depends_on == ("F1",)


def test_a_bare_list_is_as_good() -> None:
    assert parse_features(b'[{"id": "F1", "description": "x"}]', file="f").items[0].title == "x"


def test_done_features_are_left_out_and_nothing_waits_for_them() -> None:
    features = read(
        {"id": "F1", "description": "x", "status": "Done"},
        {"id": "F2", "description": "y", "status": "in progress", "depends_on": ["F1"]},
    )
    assert [item.key for item in features.items] == ["F2"]
    assert features.items[0].depends_on == ()
    assert features.notes == (
        "1 feature planned",
        "1 feature left out, their status says done: F1",
    )


def test_faults_of_all_kinds_are_found_in_one_reading_with_their_places() -> None:
    said = faults(
        """{
  "features": [
    {"id": "F1", "description": "x", "priority": 11, "files": ["/etc"]},
    {"id": "F1", "description": "y", "status": "dne"},
    {"description": "z"},
    {"id": "F3", "depends_on": ["F9"], "files": "a.py", "name": 3, "name": 4},
    7
  ]
}"""
    )
    assert [line.split(": ")[0] for line in said] == [
        "F.json:3:50", "F.json:3:63", "F.json:4:12", "F.json:4:48", "F.json:5:5",
        "F.json:6:5", "F.json:6:32", "F.json:6:49", "F.json:6:76", "F.json:6:76", "F.json:7:5",
    ]  # fmt: skip
    assert "feature 'F1', field 'priority': must be 1 (most urgent) to 10" in said[0]
    assert "'/etc' is absolute" in said[1]
    assert "used already by the feature in line 3" in said[2]
    assert "did you mean 'done'?" in said[3]
    assert "field 'id': is missing" in said[4]
    assert "'F9' is not an item of this plan" in said[6]
    assert "must be a list of texts, not a text" in said[7]
    assert "stands twice" in said[8]


def test_a_cycle_is_placed_at_the_dependency_as_the_file_calls_it() -> None:
    (said,) = faults(
        '[{"id": "A", "name": "a", "dependencies": ["B"]},\n'
        ' {"id": "B", "name": "b", "depends_on": ["A"]}]'
    )
    assert said.startswith("F.json:1:43: feature 'A', field 'dependencies': ")
    assert said.endswith("A → B → A")


def test_unknown_fields_are_warned_of_with_a_suggestion() -> None:
    features = read({"id": "F1", "description": "x", "file": ["a"], "zzz": 1})
    near, far = features.warnings
    assert "did you mean 'files'?" in str(near)
    assert "known are" in str(far)
    assert str(near) in features.notes


def test_more_than_twenty_faults_are_counted() -> None:
    said = faults(json.dumps([{"id": f"F{n}"} for n in range(30)]))
    assert len(said) == 21
    assert said[-1] == "… and 10 more faults"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "F.json:1:1: the file is empty"),
        (b" \n", "F.json:1:1: the file is empty"),
        (b"\x00\x01\x02", "binary"),
        (codecs.BOM_UTF16_LE + "[]".encode("utf-16-le"), "UTF-16"),
        (b'[\n{"id": "\xff"}]', "F.json:2:1: the file is not UTF-8"),
        (b'{"features": [', "not valid JSON"),
        (b'{"features": [\n{"id": 1,}]}', "F.json:2:"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 150 + b"]" * 150, "nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "not valid JSON"),
        (b"3", "must be a list of features, not the number 3"),
        (b"{}", 'has no "features"'),
        (b'{"features": []}', "has no features"),
        (b'{"features": {"id": "F1"}}', "must be a list of features, not an object"),
        (b'{"features": [{"id": "x", "name": "a"}], "features": []}', "stands twice"),
        (b'[{"id": true, "name": "a"}]', "must be a text such as F01, not true"),
        (b'[{"id": "F1", "name": "a", "priority": true}]', "not true"),
        (b'[{"id": "F1", "name": "a", "priority": 2.5}]', "not the number 2.5"),
        (b'[{"id": "F1", "name": "a", "priority": null}]', "not null"),
        (b'[{"id": "F1", "name": "a", "title": "b"}]', "means the same"),
        (b'[{"id": "F1", "name": "a", "files": ["a", 1]}]', "must hold texts only"),
        (b'[{"id": "F 1", "name": "a"}]', "'F 1' is not an id"),
        (b'[{"id": "F1.land", "name": "a"}]', "kept for the tasks of the run"),
        (b'[{"id": "F1", "name": "\\ud800", "files": ["\\ud800"]}]', "not valid UTF-8"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_list_of_features_says_why(data: bytes, message: str) -> None:
    assert message in "\n".join(faults(data))


def test_a_byte_order_mark_is_no_fault() -> None:
    data = codecs.BOM_UTF8 + b'[{"id": "F1", "name": "a"}]'
    assert len(parse_features(data, file="f").items) == 1


def test_the_template_is_a_features_file() -> None:
    features = parse_features(features_template().encode(), file="template")
    assert [item.key for item in features.items] == ["F01", "F02"]
    assert features.warnings == ()


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_features(tmp_path / "none.json")
    with pytest.raises(UsageError, match="cannot be read: not a regular file"):
        read_features(tmp_path)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(16 * 1024**2 + 1)
    with pytest.raises(UsageError, match="larger than 16 MiB"):
        read_features(path)


def test_the_demonstration_is_a_features_file() -> None:
    path = Path(__file__).parents[2] / "examples/spreadsheet/FEATURES.json"
    features = read_features(path)
    assert len(features.items) == 20
    assert features.notes == ("20 features planned",)


@pytest.mark.timeout(10)
def test_a_pipe_is_refused_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "F.json"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="cannot be read: not a regular file"):
        read_features(pipe)
