# ruff: noqa: E501 - JavaScript is not wrapped as Python is
"""The dashboard's pure modules, run where they live."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.needs_chromium


@pytest.fixture(scope="module")
def page(browser, run_site):
    """An empty page of the server's origin, without the dashboard's policy."""
    context = browser.new_context()
    page = context.new_page()
    empty = "<!doctype html><title>empty</title>"
    page.route("**/empty", lambda route: route.fulfill(content_type="text/html", body=empty))
    page.goto(f"{run_site.url}/empty")
    yield page
    context.close()


@pytest.fixture(scope="module")
def run(page, run_site):
    """Run a body of JavaScript with a module as `m`; what it returns."""

    def call(module, body, argument=None):
        return page.evaluate(
            f"async ([url, argument]) => {{ const m = await import(url); {body} }}",
            [f"{run_site.url}/static/js/{module}.js", argument],
        )

    return call


# --- events ---


def test_events_are_whole_however_the_text_is_cut(run) -> None:
    text = 'id: 7\nevent: delta\ndata: {"a":1}\n\n: alive\n\ndata: x\ndata: y\r\n\n'
    found = run(
        "api",
        """
        const all = [];
        for (let size = 1; size < argument.length; size += 1) {
          const events = [];
          const parser = new m.EventParser((event) => events.push(event));
          for (let at = 0; at < argument.length; at += size) parser.feed(argument.slice(at, at + size));
          all.push(JSON.stringify(events));
        }
        return [...new Set(all)].map((one) => JSON.parse(one));""",
        text,
    )

    assert found == [
        [
            {"type": "delta", "data": '{"a":1}', "id": "7"},
            {"type": "message", "data": "x\ny", "id": "7"},
        ]
    ]


# --- the store ---

STORE = """
const frames = [];
const store = new m.Store({ frame: (act) => frames.push(act), clock: () => 1000 });
const told = [];
store.subscribe(["agents", "landings", "run", "points"], (dirty) => told.push([...dirty].sort()));
"""


def test_many_deltas_are_told_once_a_frame(run) -> None:
    found = run(
        "store",
        STORE
        + """
        store.snapshot({ seq: 1, at: 5, now: 6, agents: {}, run: { run_id: "r" } });
        for (let n = 0; n < 50; n += 1) store.delta({ seq: n, at: n, now: n, set: { agents: { a: { n } } } });
        frames.forEach((act) => act());
        return [frames.length, told.length, store.agents.get("a").n, store.run.run_id];""",
    )

    assert found == [1, 1, 49, "r"]


def test_rows_are_set_deleted_appended_and_replaced(run) -> None:
    found = run(
        "store",
        STORE
        + """
        store.snapshot({ seq: 1, now: 1, agents: { a: { id: "a" }, b: { id: "b" } }, landings: [{ id: "1" }],
          metrics: { x: 1, y: 2 }, series: { step_s: 1, points: [{ at: 1, landings: 0 }] } });
        store.delta({ seq: 2, now: 2, set: { agents: { c: { id: "c" } }, strange: { z: 1 } }, del: { agents: ["a"] },
          append: { landings: [{ id: "2" }], points: [{ at: 1, landings: 5 }, { at: 2, landings: 6 }], odd: [1] },
          replace: { metrics: { x: null }, run: { state: "ended" }, unheard: 1 } });
        return { agents: [...store.agents.keys()], landings: store.landings.length, points: store.points,
          metrics: store.metrics, state: store.run.state };""",
    )

    assert found == {
        "agents": ["b", "c"],
        "landings": 2,
        "points": [{"at": 1, "landings": 5}, {"at": 2, "landings": 6}],
        "metrics": {"x": None, "y": 2},
        "state": "ended",
    }


def test_time_goes_on_between_deltas_as_fast_as_a_replay_does(run) -> None:
    found = run(
        "store",
        """
        let ms = 0;
        const store = new m.Store({ frame: () => {}, clock: () => ms });
        const replay = (paused) => ({ at: 100, begins: 90, ends: 110, speed: 10, paused });
        store.snapshot({ seq: 1, now: 100, feed: { live: false, replay: replay(false) } });
        ms = 500;
        const going = store.now();
        ms = 5000;
        const ended = store.now();
        store.delta({ seq: 1, now: 100, replace: { feed: { live: false, replay: replay(true) } } });
        ms = 9000;
        return [going, ended, store.now()];""",
    )

    assert found == [105, 110, 100]


# --- the graph ---


def test_a_node_stands_right_of_all_that_it_needs_and_circles_end(run) -> None:
    found = run(
        "layout",
        """
        const nodes = ["d", "a", "b", "c", "x", "y"].map((id) => ({ id, state: "pending" }));
        const edges = [["a", "b"], ["b", "c"], ["a", "c"], ["c", "d"], ["x", "y"], ["y", "x"]]
          .map(([from, to]) => ({ from, to, kind: "needs" }));
        return Object.fromEntries(m.layerOf(nodes, edges));""",
    )

    assert (found["a"], found["b"], found["c"], found["d"]) == (0, 1, 2, 3)
    assert set(found) == set("abcdxy")


def test_no_two_nodes_of_a_layout_lie_on_each_other(run) -> None:
    boxes = run(
        "layout",
        """
        const nodes = Array.from({ length: 120 }, (_, n) => ({ id: `n${n}`, state: "pending" }));
        const edges = nodes.slice(1).map(({ id }, n) => ({ from: `n${Math.floor(n / 3)}`, to: id, kind: "needs" }));
        const { places, node } = m.layout(nodes, edges);
        return [...places.values()].map(({ x, y }) => [x, y, node.width, node.height]);""",
    )

    assert len(boxes) == 120
    for number, (x, y, width, height) in enumerate(boxes):
        for other_x, other_y, _, _ in boxes[number + 1 :]:
            assert abs(x - other_x) >= width or abs(y - other_y) >= height


def test_a_chain_of_thousands_is_laid_out_and_a_big_graph_is_summarised(run) -> None:
    found = run(
        "layout",
        """
        const nodes = Array.from({ length: 5000 }, (_, n) => ({ id: `n${n}`, state: n % 2 ? "pending" : "completed" }));
        const edges = nodes.slice(1).map(({ id }, n) => ({ from: `n${n}`, to: id, kind: "needs" }));
        const wide = nodes.map((node, n) => ({ ...node, state: n === 7 ? "failed" : node.state }));
        const flat = m.summarise(wide, [], ["n9"]);
        return { last: m.layerOf(nodes, edges).get("n4999"), flat: flat.nodes.map(({ id, count }) => [id, count ?? null]) };""",
    )

    assert found["last"] == 4999
    assert sorted(found["flat"]) == sorted(
        [["0/completed", 2500], ["0/pending", 2498], ["0/failed", 1], ["n9", None]]
    )


# --- numbers and words ---


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        ("count(null)", "unknown"),
        ("dollars(undefined)", "unknown"),
        ("seconds(null)", "unknown"),
        ("count(0)", "0"),
        ("count(12345)", "12,345"),
        ("dollars(0)", "$0.00"),
        ("dollars(0.0123)", "$0.012"),
        ("seconds(75)", "1 min 15 s"),
        ("ago(7300)", "2 h"),
        ("percent(0.876)", "87.6 %"),
        ("short('a\\u202eb')", "a\\u202eb"),
        ("short('x'.repeat(50), 10)", "xxxxxxxxx…"),
        ("clean('\\u0007')", "\\u0007"),
        ("agentName('run-1/agent-3')", "agent-3"),
    ],
)
def test_words_and_numbers(run, call, shown) -> None:
    assert run("text", f"return m.{call};") == shown


def test_a_gap_in_what_is_known_is_a_gap_in_the_line(run) -> None:
    found = run(
        "scale",
        """
        const points = [1, 2, null, 4].map((v, at) => ({ at, v }));
        return m.asLine(m.paths(points, "v", { x: (at) => at * 10, y: (v) => v }));""",
    )

    assert found == "M0.0 1.0L10.0 2.0M30.0 4.0"
