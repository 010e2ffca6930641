"""FEATURES.json: a list of features written by people, read into work items.

Every fault is found in one reading and names file, line, column, feature and field. What is left
out on purpose (finished features) and what was not understood (unknown fields) is said, never
passed over in silence.
"""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from stigmergy.coding.plan.feature_fields import Feature, FeatureFault, Report
from stigmergy.coding.plan.located_json import JsonSyntaxError, Node, parse_located
from stigmergy.coding.plan.workitem import WorkItem, find_faults
from stigmergy.errors import UsageError

__all__ = [
    "FeatureFault",
    "Features",
    "FeaturesError",
    "features_template",
    "parse_features",
    "read_features",
]

MAX_FILE_BYTES: Final = 16 * 1024**2
MAX_FAULTS: Final = 20


class FeaturesError(UsageError):
    """The features file cannot be planned from; `faults` has the reasons in the file's order."""

    def __init__(self, faults: tuple[FeatureFault, ...]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: (fault.line, fault.column)))
        lines = [str(fault) for fault in self.faults[:MAX_FAULTS]]
        if len(faults) > MAX_FAULTS:
            lines.append(f"… and {len(faults) - MAX_FAULTS} more faults")
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What a features file asks for."""

    items: tuple[WorkItem, ...]
    done: tuple[str, ...] = ()
    """Ids of the features that the file calls done: not planned, and nothing waits for them."""
    warnings: tuple[FeatureFault, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the user: how much is planned, what is left out, what was not understood."""
        lines = [f"{_count(len(self.items))} planned"]
        if self.done:
            shown = ", ".join(self.done[:10]) + (" …" if len(self.done) > 10 else "")
            lines.append(f"{_count(len(self.done))} left out, their status says done: {shown}")
        lines += [str(warning) for warning in self.warnings[:MAX_FAULTS]]
        if len(self.warnings) > MAX_FAULTS:
            lines.append(f"… and {len(self.warnings) - MAX_FAULTS} more warnings")
        return tuple(lines)


def read_features(path: Path) -> Features:
    """The features in a file.

    Raises:
        UsageError: it cannot be read, or is larger than `MAX_FILE_BYTES`.
        FeaturesError: what it holds is not a list of features.
    """
    try:
        if path.exists() and not path.is_file():  # to open a pipe may never end
            raise UsageError(f"{path}: cannot be read: not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{path}: is larger than {MAX_FILE_BYTES // 1024**2} MiB; split it")
    return parse_features(data, file=str(path))


def parse_features(data: bytes, *, file: str) -> Features:
    """The features in a file's bytes; `file` is its name in messages. Pure.

    Raises:
        FeaturesError: with every fault.
    """
    report = Report(file)
    features = [Feature(node, report) for node in _feature_nodes(_document(data, file), report)]
    by_key = _by_key(features)
    items = [feature.item for feature in by_key.values() if not feature.is_done]
    done = tuple(key for key, feature in by_key.items() if feature.is_done)
    _note_faults_between(items, done, by_key)
    if report.faults:
        raise FeaturesError(tuple(report.faults))
    return Features(
        items=tuple(_without_done(item, frozenset(done)) for item in items),
        done=done,
        warnings=tuple(report.warnings),
    )


def features_template() -> str:
    """A small features file that shows every field."""
    features = [
        {
            "id": "F01",
            "title": "Parse the command line",
            "description": "Add `parse(argv)`, which returns the options or a usage message.",
            "category": "core",
            "priority": "high",
            "status": "pending",
            "files": ["src/options.py", "tests/test_options.py"],
            "acceptance": ["`parse(['--version'])` asks for the version."],
        },
        {
            "id": "F02",
            "title": "Print the version",
            "priority": 5,
            "files": ["src/main.py"],
            "acceptance": "`main(['--version'])` prints one line.",
            "depends_on": ["F01"],
        },
    ]
    return json.dumps({"features": features}, indent=2) + "\n"


def _document(data: bytes, file: str) -> Node:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _broken(file, "the file is UTF-16; save it as UTF-8")
    if b"\0" in data:
        raise _broken(file, "the file is binary, not JSON")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _broken(file, "the file is not UTF-8 here; save it as UTF-8", line=line) from None
    if not text.strip():
        raise _broken(file, 'the file is empty; it needs {"features": [ … ]}')
    try:
        return parse_located(text)
    except JsonSyntaxError as fault:
        message = f"not valid JSON: {fault.message}"
        raise _broken(file, message, line=fault.line, column=fault.column) from None


def _broken(file: str, message: str, *, line: int = 1, column: int = 1) -> FeaturesError:
    return FeaturesError((FeatureFault(file, line, column, None, None, message),))


def _feature_nodes(root: Node, report: Report) -> list[Node]:
    listed = root
    if root.members is not None:
        for name, again in root.repeated:
            report.fault(again, f"{name!r} stands twice in the file's object; keep one")
        if "features" not in root.members:
            report.fault(root, 'has no "features"; give {"features": [ … ]} or a bare list')
            return []
        listed = root.members["features"]
    if listed.elements is None:
        report.fault(listed, f"must be a list of features, not {listed.kind}")
        return []
    if not listed.elements:
        report.fault(listed, "has no features; there is nothing to do")
    for node in listed.elements:
        if node.members is None:
            report.fault(node, f"a feature must be an object, not {node.kind}")
    return [node for node in listed.elements if node.members is not None]


def _by_key(features: list[Feature]) -> dict[str, Feature]:
    """The features by id; an id that comes again is a fault of the later one."""
    by_key: dict[str, Feature] = {}
    for feature in features:
        earlier = by_key.setdefault(feature.key, feature)
        if feature.key and earlier is not feature:
            feature.fault("id", f"is used already by the feature in line {earlier.node.line}")
    by_key.pop("", None)
    return by_key


def _note_faults_between(
    items: list[WorkItem], done: tuple[str, ...], by_key: dict[str, Feature]
) -> None:
    for fault in find_faults(items, known=done):
        if fault.field != "description":  # that one is looked for with the fields
            name = "files" if fault.field == "scope" else fault.field
            by_key[fault.key].fault(name, fault.message)


def _without_done(item: WorkItem, done: frozenset[str]) -> WorkItem:
    return replace(item, depends_on=tuple(key for key in item.depends_on if key not in done))


def _count(features: int) -> str:
    return "1 feature" if features == 1 else f"{features} features"
