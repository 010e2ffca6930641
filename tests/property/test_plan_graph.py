"""Orders, waves and overlaps of random plans."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stigmergy.coding.plan.globs import pattern_contains, pattern_matches, patterns_overlap
from stigmergy.coding.plan.graph import critical_path, find_cycles, levels, linear_order
from stigmergy.coding.plan.located_json import JsonSyntaxError, Node, parse_located
from stigmergy.coding.plan.overlap import find_overlaps, serialise_overlaps
from stigmergy.coding.plan.workitem import WorkItem, find_faults

KEYS = [f"k{n}" for n in range(7)]
GRAPHS = st.dictionaries(
    st.sampled_from(KEYS), st.lists(st.sampled_from([*KEYS, "done"]), max_size=3).map(tuple)
)
SEGMENTS = st.sampled_from(["a", "b", "ab", "*", "**", "a*", "*b", "?", "[ab]"])
PATTERNS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "c"]), min_size=1, max_size=4).map("/".join)


@given(GRAPHS)
def test_a_graph_has_a_full_order_or_a_cycle(graph: dict[str, tuple[str, ...]]) -> None:
    order = linear_order(graph, dict.fromkeys(graph, 0))
    cycles = find_cycles(graph)
    assert (len(order) == len(graph)) == (not cycles)
    place = {key: at for at, key in enumerate(order)}
    assert all(place[k] < place[key] for key in order for k in graph[key] if k in graph)
    for cycle in cycles:
        for key, following in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
            assert following in graph[key]


@given(GRAPHS)
def test_waves_are_as_many_as_the_longest_chain(graph: dict[str, tuple[str, ...]]) -> None:
    waves, path = levels(graph), critical_path(graph)
    assert len(waves) == len(path)
    wave_of = {key: number for number, wave in enumerate(waves) for key in wave}
    for key, number in wave_of.items():
        assert all(wave_of[k] < number for k in graph[key] if k in graph)
    for earlier, later in pairwise(path):
        assert earlier in graph[later]


@st.composite
def plans(draw: st.DrawFn) -> list[WorkItem]:
    made: list[WorkItem] = []
    for key in KEYS:
        earlier = [item.key for item in made]
        after = draw(st.lists(st.sampled_from(earlier), max_size=2)) if earlier else []
        scope = draw(st.lists(PATTERNS, max_size=2))
        priority = draw(st.integers(1, 10))
        made.append(
            WorkItem(key=key, title=key, scope=tuple(scope), depends_on=tuple(after),
                     priority=priority)
        )  # fmt: skip
    return draw(st.permutations(made))


@given(plans())
def test_a_serialised_plan_is_valid_and_without_overlaps(plan: list[WorkItem]) -> None:
    made = serialise_overlaps(plan)
    assert find_faults(made) == ()
    assert find_overlaps(made) == ()
    for before, after in zip(plan, made, strict=True):
        assert set(before.depends_on) <= set(after.depends_on)


@given(PATTERNS, PATTERNS, PATHS)
def test_patterns_that_mean_one_path_overlap(one: str, other: str, path: str) -> None:
    if pattern_matches(one, path) and pattern_matches(other, path):
        assert patterns_overlap(one, other)
    assert patterns_overlap(one, other) == patterns_overlap(other, one)


@given(PATTERNS, PATTERNS, PATHS)
def test_what_a_contained_pattern_means_the_outer_means(outer: str, inner: str, path: str) -> None:
    if pattern_contains(outer, inner) and pattern_matches(inner, path):
        assert pattern_matches(outer, path)


def plain(node: Node) -> object:
    if node.members is not None:
        return {name: plain(member) for name, member in node.members.items()}
    if node.elements is not None:
        return [plain(element) for element in node.elements]
    return node.value


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_located_json_is_json_and_its_places_are_the_values(
    value: object, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    root = parse_located(text)
    assert plain(root) == value
    lines = text.split("\n")

    def check(node: Node) -> None:
        here = lines[node.line - 1][node.column - 1]
        if node.members is not None:
            assert here == "{"
            for member in node.members.values():
                check(member)
        elif node.elements is not None:
            assert here == "["
            for element in node.elements:
                check(element)
        else:
            assert json.dumps(node.value, ensure_ascii=ascii_only)[0] == here

    check(root)


@given(st.text(alphabet='{}[]",:\\ a0.1e-\nNaItruefals', max_size=80))
def test_located_json_never_fails_otherwise_than_it_says(text: str) -> None:
    try:
        parse_located(text)
    except JsonSyntaxError:
        return
    json.loads(text)
