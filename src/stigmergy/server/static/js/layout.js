// Where the nodes of a task graph stand: layers from left to right. Pure.
//
// A node stands one layer to the right of the last that it depends on; within a layer, near the
// middle of what it is tied to (a few sweeps of barycentres). Too many nodes are summarised: the
// critical path stays, everything else of one layer and one state becomes one node with a count.

export const MOST_NODES = 240;

export function summarise(nodes, edges, critical, most = MOST_NODES) {
  if (nodes.length <= most) return { nodes, edges, summarised: false };
  const layers = layerOf(nodes, edges);
  const kept = new Set(critical);
  const place = new Map();
  const out = new Map();
  for (const node of nodes) {
    const id = kept.has(node.id) ? node.id : `${layers.get(node.id)}/${node.state}`;
    place.set(node.id, id);
    if (id === node.id) out.set(id, node);
    else if (out.has(id)) out.get(id).count += 1;
    else out.set(id, { id, state: node.state, count: 1, title: "", layer: layers.get(node.id) });
  }
  const seen = new Set();
  const joined = [];
  for (const { from, to, kind } of edges) {
    const [a, b] = [place.get(from), place.get(to)];
    if (a === undefined || b === undefined || a === b || seen.has(`${a}\n${b}`)) continue;
    seen.add(`${a}\n${b}`);
    joined.push({ from: a, to: b, kind });
  }
  return { nodes: [...out.values()], edges: joined, summarised: true };
}

export function layout(nodes, edges, { width = 206, height = 44, gapX = 44, gapY = 9 } = {}) {
  const layers = layerOf(nodes, edges);
  const rows = [];
  for (const node of nodes) (rows[node.layer ?? layers.get(node.id)] ??= []).push(node.id);
  const columns = [...rows].map((row) => row ?? []);
  order(columns, edges);
  const tallest = Math.max(1, ...columns.map((column) => column.length));
  const places = new Map();
  columns.forEach((column, layer) => {
    const top = ((tallest - column.length) * (height + gapY)) / 2;
    column.forEach((id, row) =>
      places.set(id, { x: layer * (width + gapX), y: top + row * (height + gapY), layer, row }),
    );
  });
  return {
    places,
    width: Math.max(1, columns.length) * (width + gapX) - gapX,
    height: tallest * (height + gapY) - gapY,
    node: { width, height },
  };
}

// The longest way to each node. What depends on itself in a circle stands where it is met.
export function layerOf(nodes, edges) {
  const before = new Map(nodes.map((node) => [node.id, []]));
  for (const { from, to, kind } of edges) {
    if (kind !== "parent" && before.has(from) && before.has(to)) before.get(to).push(from);
  }
  const layers = new Map();
  const open = new Set();
  for (const node of nodes) visit(node.id);
  return layers;

  function visit(root) {
    // A chain of thousands must not fill the call stack.
    const stack = [root];
    while (stack.length > 0) {
      const id = stack[stack.length - 1];
      if (layers.has(id)) {
        stack.pop();
        continue;
      }
      open.add(id);
      const waits = before.get(id).filter((other) => !layers.has(other) && !open.has(other));
      if (waits.length > 0) {
        stack.push(...waits);
        continue;
      }
      const known = before.get(id).map((other) => layers.get(other) ?? -1);
      layers.set(id, Math.max(-1, ...known) + 1);
      open.delete(id);
      stack.pop();
    }
  }
}

function order(columns, edges) {
  const ties = new Map();
  for (const { from, to } of edges) {
    (ties.get(from) ?? ties.set(from, []).get(from)).push(to);
    (ties.get(to) ?? ties.set(to, []).get(to)).push(from);
  }
  for (let sweep = 0; sweep < 4; sweep += 1) {
    const rank = new Map();
    columns.forEach((column) => column.forEach((id, row) => rank.set(id, row / Math.max(1, column.length))));
    const ordered = sweep % 2 === 0 ? columns : [...columns].reverse();
    for (const column of ordered) {
      const middle = new Map(column.map((id) => [id, mean(ties.get(id) ?? [], rank, rank.get(id))]));
      column.sort((a, b) => middle.get(a) - middle.get(b) || rank.get(a) - rank.get(b));
      column.forEach((id, row) => rank.set(id, row / Math.max(1, column.length)));
    }
  }
}

function mean(ids, rank, otherwise) {
  const known = ids.map((id) => rank.get(id)).filter((value) => value !== undefined);
  return known.length === 0 ? otherwise : known.reduce((sum, value) => sum + value, 0) / known.length;
}
