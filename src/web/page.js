
const at = (id) => document.getElementById(id);
const money = (text) => (text === null ? "no price" : "$" + Number(text).toFixed(2));
let token = "";

function cell(text, kind) {
  const cell = document.createElement("td");
  cell.textContent = text;
  if (kind) cell.className = kind;
  return cell;
}

function line(row, dimension) {
  const tokens = row.tokens;
  const writes = tokens.cache_write_5m + tokens.cache_write_1h + tokens.cache_write_unknown;
  const line = document.createElement("tr");
  line.append(cell(row[dimension] ?? "unknown"));
  for (const number of [row.requests, tokens.input, tokens.output, tokens.cache_read, writes]) {
    line.append(cell(whole(number), "number"));
  }
  line.append(cell(money(row.cost_usd), "number"));
  return line;
}

function show(answer, dimension) {
  const totals = answer.totals;
  at("requests").textContent = whole(totals.requests);
  at("errors").textContent = whole(totals.errors);
  at("tokens").textContent = whole(totals.tokens.total);
  at("cost").textContent = money(totals.cost_usd);
  at("range").textContent = answer.from.slice(0, 10) + ", " + answer.timezone;
  at("dimension").textContent = dimension;
  const rows = answer.rows.toSorted((a, b) => b.tokens.total - a.tokens.total);
  at("rows").replaceChildren(...rows.slice(0, 20).map((row) => line(row, dimension)));
  at("tiles").hidden = false;
  at("table").hidden = rows.length === 0;
  const more = rows.length - 20;
  at("message").textContent =
    rows.length === 0 ? "Nothing was heard today yet."
    : more > 0 ? "and " + whole(more) + " more"
    : totals.unpriced_tokens > 0 ? whole(totals.unpriced_tokens) + " tokens have no known price and are not in the cost."
    : "";
}

const authorized = () => ({ headers: token ? { Authorization: "Bearer " + token } : {} });

// By metric, minutes with their time in milliseconds.
async function minutes(from, to) {
  const query = new URLSearchParams({
    metric: CHARTS.map((wanted) => wanted.metric).join(","),
    from: new Date(from).toISOString(),
    to: new Date(to).toISOString(),
  });
  const response = await fetch("/api/v1/minutes?" + query, authorized());
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail);
  const series = Map.groupBy(answer.minutes, (minute) => minute.metric);
  for (const minutes of series.values()) {
    for (const minute of minutes) minute.at = Date.parse(minute.minute);
  }
  return series;
}

async function refreshCharts() {
  const to = Math.floor(Date.now() / MINUTE) * MINUTE;
  const from = to - 60 * MINUTE * at("span").value;
  try {
    drawAll(at("charts"), await minutes(from, to), from, to);
    at("charts-message").textContent = clock(from) + " to " + clock(to) + ", minute by minute. A gap is a minute without requests, or one in which tallyd was down.";
  } catch (problem) {
    at("charts-message").textContent = problem.message;
  }
}

// The demo says so in the conditions that everyone may read.
async function mark() {
  try {
    const conditions = (await (await fetch("/readyz")).json()).conditions;
    at("simulated").hidden = !conditions.some((condition) => condition.name === "simulation");
  } catch {
    // The figures say that tallyd does not answer.
  }
}

function refresh() {
  return Promise.all([refreshFigures(), refreshCharts(), mark()]);
}

async function refreshFigures() {
  const dimension = at("group").value;
  try {
    const response = await fetch("/api/v1/usage?group_by=" + dimension, authorized());
    const answer = await response.json();
    at("access").hidden = response.status !== 401 && response.status !== 403;
    if (response.ok) show(answer, dimension);
    else at("message").textContent = answer.detail;
  } catch {
    at("message").textContent = "tallyd does not answer.";
  }
}

at("group").addEventListener("change", refreshFigures);
at("span").addEventListener("change", refreshCharts);
at("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  refresh();
});
for (const origin of document.querySelectorAll("[data-origin]")) origin.textContent = location.origin;
at("now").textContent = new Date().toISOString().slice(0, 19) + "Z";
refresh();
setInterval(() => { if (!document.hidden) refresh(); }, 30000);
