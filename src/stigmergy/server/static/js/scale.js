// From numbers to places on a chart. Pure. A gap in what is known is a gap in the line.

export function niceTop(most) {
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  for (const step of [1, 2, 2.5, 5, 10]) if (step * power >= most) return step * power;
  return 10 * power;
}

export function paths(points, name, { x, y }) {
  const runs = [];
  let run = [];
  for (const point of points) {
    const value = point[name];
    if (value === null || value === undefined) {
      if (run.length > 0) runs.push(run);
      run = [];
    } else {
      run.push([x(point.at), y(value)]);
    }
  }
  if (run.length > 0) runs.push(run);
  return runs;
}

export function asLine(runs) {
  return runs
    .map((run) => run.map(([x, y], at) => `${at === 0 ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`).join(""))
    .join("");
}

export function asArea(runs, base) {
  return runs
    .filter((run) => run.length > 1)
    .map((run) => {
      const line = run.map(([x, y]) => `L${x.toFixed(1)} ${y.toFixed(1)}`).join("").slice(1);
      return `M${line}L${run[run.length - 1][0].toFixed(1)} ${base}L${run[0][0].toFixed(1)} ${base}Z`;
    })
    .join("");
}
