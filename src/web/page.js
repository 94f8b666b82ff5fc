
"use strict";
const at = (id) => document.getElementById(id);
const whole = (number) => number.toLocaleString("en");
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

async function refresh() {
  const dimension = at("group").value;
  const headers = token ? { Authorization: "Bearer " + token } : {};
  try {
    const response = await fetch("/api/v1/usage?group_by=" + dimension, { headers });
    const answer = await response.json();
    at("access").hidden = response.status !== 401 && response.status !== 403;
    if (response.ok) show(answer, dimension);
    else at("message").textContent = answer.detail;
  } catch {
    at("message").textContent = "tallyd does not answer.";
  }
}

at("group").addEventListener("change", refresh);
at("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  refresh();
});
for (const origin of document.querySelectorAll("[data-origin]")) origin.textContent = location.origin;
at("now").textContent = new Date().toISOString().slice(0, 19) + "Z";
refresh();
setInterval(() => { if (!document.hidden) refresh(); }, 30000);
