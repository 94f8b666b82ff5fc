// Charts of the minute series: a line for each metric, drawn as SVG.
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 320, HEIGHT = 72, MINUTE = 60000;
const whole = (number) => number.toLocaleString("en", { maximumFractionDigits: 0 });
const short = (number) => number.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });

// What is drawn, and how the value of a minute is read from its datapoint.
const CHARTS = [
  { metric: "requests_per_minute", title: "Requests a minute", value: (p) => p.sum, show: whole },
  { metric: "error_rate", title: "Errors", value: (p) => p.average, show: (n) => n.toFixed(1) + " %" },
  { metric: "response_time", title: "Latency, p95", value: (p) => p.p95, show: (n) => (n / 1000).toFixed(1) + " s" },
  { metric: "active_users", title: "Active users", value: (p) => p.max, show: whole },
  { metric: "throttled_requests", title: "Throttled a minute", value: (p) => p.sum, show: whole },
  { metric: "tokens_processed", title: "Tokens a minute", value: (p) => p.sum, show: short },
];

function svg(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// Points of the line; a minute without a value begins a new stretch.
function stretches(points, from, to, top) {
  const x = (at) => (WIDTH * (at - from)) / (to - from);
  const y = (value) => HEIGHT - 4 - ((HEIGHT - 8) * value) / top;
  const all = [];
  let before = -Infinity;
  for (const [at, value] of points) {
    if (at - before > MINUTE) all.push([]);
    all.at(-1).push([x(at), y(value)]);
    before = at;
  }
  return all;
}

function draw(points, from, to, top) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  const text = (stretch) => stretch.map(([x, y]) => x.toFixed(1) + " " + y.toFixed(1)).join("L");
  for (const stretch of stretches(points, from, to, top)) {
    const ends = [stretch[0][0], stretch.at(-1)[0]].map((x) => x.toFixed(1));
    picture.append(
      svg("path", { class: "area", d: `M${ends[0]} ${HEIGHT}L${text(stretch)}L${ends[1]} ${HEIGHT}Z` }),
      svg("path", { class: "graph", d: stretch.length > 1 ? "M" + text(stretch) : `M${text(stretch)}h1` }),
    );
  }
  return picture;
}

// One chart with its title, the newest value (or the one under the pointer) and its scale.
function chart({ title, value, show }, minutes, from, to) {
  const points = minutes.map((p) => [p.at, value(p)]).filter(([, number]) => Number.isFinite(number));
  const figure = document.createElement("figure");
  const part = (name, kind, text) => {
    const element = document.createElement(name);
    element.className = kind;
    element.textContent = text;
    return element;
  };
  const top = Math.max(...points.map(([, number]) => number), 0);
  const newest = points.length > 0 ? show(points.at(-1)[1]) : "no data";
  const now = part("span", "value", newest);
  const caption = part("figcaption", "", title + " ");
  caption.append(now);
  figure.append(caption);
  const picture = draw(points, from, to, top || 1);
  picture.setAttribute("aria-label", points.length > 0 ? `${title}: now ${newest}, at most ${show(top)}` : `${title}: no data`);
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const at = from + ((to - from) * (event.clientX - box.left)) / box.width;
    const near = points.findLast(([point]) => point <= at + MINUTE / 2);
    if (near) now.textContent = clock(near[0]) + "  " + show(near[1]);
  });
  picture.addEventListener("pointerleave", () => { now.textContent = newest; });
  figure.append(picture, part("span", "note scale", points.length > 0 ? "at most " + show(top) : ""));
  return figure;
}

const clock = (at) => new Date(at).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

// Draws all charts from series by metric.
function drawAll(place, series, from, to) {
  place.replaceChildren(...CHARTS.map((wanted) => chart(wanted, series.get(wanted.metric) ?? [], from, to)));
}
