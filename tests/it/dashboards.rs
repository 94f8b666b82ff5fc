//! The dashboards in `dashboards/`: the rules of Grafana's dashboard linter, and ours.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tallyd::model::catalogue::{self, Desc, Kind};

use crate::promql::{self, Query};

/// The units of our panels, all of which Grafana knows.
const UNITS: [&str; 10] = [
    "bytes",
    "cps",
    "currencyUSD",
    "dateTimeFromNow",
    "locale",
    "none",
    "percentunit",
    "reqps",
    "s",
    "short",
];

const RUNBOOK: &str = "https://github.com/tallyd/tallyd/blob/main/docs/runbook.md";

pub(crate) struct Dashboard {
    pub(crate) name: String,
    pub(crate) json: Value,
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All dashboards for Grafana, by name of the file.
pub(crate) fn dashboards() -> Vec<Dashboard> {
    let files = fs::read_dir(root().join("dashboards/grafana")).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "json"));
    paths.sort();
    assert!(paths.len() >= 3, "{paths:?}");
    paths.iter().map(|path| dashboard(path)).collect()
}

fn dashboard(path: &Path) -> Dashboard {
    Dashboard {
        name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
        json: serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

impl Dashboard {
    /// All panels but the rows.
    pub(crate) fn panels(&self) -> impl Iterator<Item = &Value> {
        let panels = list(&self.json["panels"]).iter();
        panels.filter(|panel| panel["type"] != "row")
    }

    /// Each query with a name that tells where it is.
    pub(crate) fn queries(&self) -> Vec<(String, &str)> {
        let mut queries = Vec::new();
        for panel in self.panels() {
            for target in list(&panel["targets"]) {
                let place = format!(
                    "{} {}",
                    self.place(panel),
                    target["refId"].as_str().unwrap()
                );
                queries.push((place, target["expr"].as_str().unwrap()));
            }
        }
        queries
    }

    fn place(&self, panel: &Value) -> String {
        format!(
            "{}: {}",
            self.name,
            panel["title"].as_str().unwrap_or_default()
        )
    }

    fn variables(&self) -> &[Value] {
        list(&self.json["templating"]["list"])
    }

    fn variable(&self, name: &str) -> &Value {
        let found = self
            .variables()
            .iter()
            .find(|variable| variable["name"] == name);
        found.unwrap_or(&Value::Null)
    }
}

/// Looks at all dashboards and fails with everything that is not as it should be.
fn each(look: impl Fn(&Dashboard, &mut Vec<String>)) {
    let mut faults = Vec::new();
    for dashboard in dashboards() {
        look(&dashboard, &mut faults);
    }
    assert_eq!(faults, Vec::<String>::new());
}

/// Notes a fault unless a part of the dashboard is as expected.
fn expect(faults: &mut Vec<String>, place: &str, seen: &Value, expected: &Value) {
    if seen != expected {
        faults.push(format!("{place}: {seen}, not {expected}"));
    }
}

#[test]
fn each_has_one_templated_data_source() {
    each(|dashboard, faults| {
        let mut sources = dashboard.variables().iter();
        let sources: Vec<_> = sources
            .by_ref()
            .filter(|v| v["type"] == "datasource")
            .collect();
        let told = sources
            .iter()
            .map(|v| json!([v["name"], v["label"], v["query"]]));
        let told: Vec<_> = told.collect();
        let expected = json!([["datasource", "Data Source", "prometheus"]]);
        expect(faults, &dashboard.name, &json!(told), &expected);
    });
}

#[test]
fn job_and_instance_can_be_chosen_and_so_can_all() {
    each(|dashboard, faults| {
        for name in ["job", "instance"] {
            let variable = dashboard.variable(name);
            let place = format!("{}: ${name}", dashboard.name);
            expect(faults, &place, &variable["allValue"], &json!(".+"));
        }
        for variable in dashboard
            .variables()
            .iter()
            .filter(|v| v["type"] != "datasource")
        {
            let place = format!("{}: {}", dashboard.name, variable["name"]);
            let seen = ["type", "multi", "includeAll", "refresh"].map(|key| &variable[key]);
            expect(
                faults,
                &place,
                &json!(seen),
                &json!(["query", true, true, 2]),
            );
            expect(faults, &place, &variable["label"], &variable["name"]);
            expect(
                faults,
                &place,
                &variable["datasource"]["uid"],
                &json!("$datasource"),
            );
            let query = variable["query"]["query"].as_str().unwrap_or_default();
            expect(faults, &place, &variable["definition"], &json!(query));
            if !query.starts_with("label_values(") {
                faults.push(format!("{place}: {query} lists no values of a label"));
            }
        }
    });
}

#[test]
fn usage_without_a_team_or_model_is_shown_while_all_are_chosen() {
    each(|dashboard, faults| {
        for name in ["team", "model"] {
            let variable = dashboard.variable(name);
            if !variable.is_null() {
                expect(faults, &dashboard.name, &variable["allValue"], &json!(".*"));
            }
        }
    });
}

#[test]
fn a_dashboard_cannot_be_edited_and_is_read_by_grafana_10_to_13() {
    each(|dashboard, faults| {
        let version = dashboard.json["schemaVersion"].as_u64().unwrap();
        let seen = json!([dashboard.json["editable"], (36..=39).contains(&version)]);
        expect(faults, &dashboard.name, &seen, &json!([false, true]));
        expect(faults, &dashboard.name, &dashboard.json["id"], &Value::Null);
    });
}

#[test]
fn each_panel_has_title_description_unit_source_and_a_query() {
    each(|dashboard, faults| {
        for panel in dashboard.panels() {
            let place = dashboard.place(panel);
            let told = |key: &str| panel[key].as_str().is_some_and(|text| !text.is_empty());
            let seen = json!([told("title"), told("description")]);
            expect(faults, &place, &seen, &json!([true, true]));
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
            if !unit.is_some_and(|unit| UNITS.contains(&unit)) {
                faults.push(format!("{place}: unit {unit:?}"));
            }
            let source = json!({"type": "prometheus", "uid": "${datasource}"});
            expect(faults, &place, &panel["datasource"], &source);
            if list(&panel["targets"]).is_empty() {
                faults.push(format!("{place}: no query"));
            }
            for target in list(&panel["targets"]) {
                expect(faults, &place, &target["datasource"], &source);
            }
        }
    });
}

#[test]
fn panels_have_ids_of_their_own_and_do_not_overlap() {
    each(|dashboard, faults| {
        let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for panel in list(&dashboard.json["panels"]) {
            let place = dashboard.place(panel);
            let [h, w, x, y] =
                ["h", "w", "x", "y"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            if !ids.insert(panel["id"].as_u64().unwrap()) || w == 0 || h == 0 || x + w > 24 {
                faults.push(format!("{place}: id or place"));
            }
            let cells = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
            if !cells.into_iter().all(|cell| taken.insert(cell)) {
                faults.push(format!("{place}: lies on another panel"));
            }
        }
    });
}

#[test]
fn each_selector_matches_job_and_instance() {
    each(|dashboard, faults| {
        for (place, query) in dashboard.queries() {
            for selector in promql::read(query).selectors {
                for matcher in [r#"job=~"$job""#, r#"instance=~"$instance""#] {
                    if !selector.matchers.contains(matcher) {
                        faults.push(format!("{place}: {} without {matcher}", selector.metric));
                    }
                }
            }
        }
    });
}

#[test]
fn counters_are_seen_as_rates_over_the_interval_or_growth_over_the_range() {
    each(|dashboard, faults| {
        for (place, query) in dashboard.queries() {
            for selector in promql::read(query).selectors {
                let counts = find(&selector.metric).is_some_and(|desc| desc.kind != Kind::Gauge);
                let good = match &*selector.function {
                    "rate" => selector.range == "$__rate_interval",
                    "increase" => matches!(&*selector.range, "$__rate_interval" | "$__range"),
                    _ => !counts && selector.range.is_empty(),
                };
                if !good {
                    faults.push(format!("{place}: {selector:?}"));
                }
            }
        }
    });
}

/// The family that a name in a query belongs to.
fn find(name: &str) -> Option<&'static Desc> {
    let parts = ["_bucket", "_sum", "_count"];
    let family = parts.iter().find_map(|part| name.strip_suffix(part));
    let histogram = family.and_then(catalogue::find);
    let histogram = histogram.filter(|desc| matches!(desc.kind, Kind::Histogram(_)));
    catalogue::find(name).or(histogram)
}

/// Labels that a scrape adds; a label `job` of ours becomes `exported_job` by it.
const OF_THE_SCRAPE: [&str; 4] = ["job", "instance", "exported_job", "le"];

#[test]
fn each_metric_and_label_is_in_the_catalogue() {
    each(|dashboard, faults| {
        for (place, query) in dashboard.queries() {
            let Query {
                selectors,
                grouping,
            } = promql::read(query);
            let mut known = BTreeSet::from(OF_THE_SCRAPE);
            for selector in &selectors {
                let Some(desc) = find(&selector.metric) else {
                    faults.push(format!(
                        "{place}: {} is not in the catalogue",
                        selector.metric
                    ));
                    continue;
                };
                known.extend(desc.labels);
                for label in selector.labels() {
                    if !desc.labels.contains(&label) && !OF_THE_SCRAPE.contains(&label) {
                        faults.push(format!("{place}: {} has no label {label}", selector.metric));
                    }
                }
            }
            for label in grouping
                .iter()
                .filter(|label| !known.contains(label.as_str()))
            {
                faults.push(format!("{place}: groups by {label}, which no metric has"));
            }
        }
    });
}

#[test]
fn dashboards_are_found_from_each_other_and_lead_to_the_runbook() {
    let mut names = BTreeSet::new();
    for Dashboard { name, json } in dashboards() {
        let uid = json["uid"].as_str().unwrap().to_owned();
        assert!(uid.starts_with("tallyd-") && names.insert(uid), "{name}");
        assert!(list(&json["tags"]).contains(&json!("tallyd")), "{name}");
        let links = list(&json["links"]).iter();
        let links: Vec<_> = links
            .map(|link| json!([link["type"], link["tags"], link["url"]]))
            .collect();
        let expected = [
            json!(["dashboards", ["tallyd"], ""]),
            json!(["link", [], RUNBOOK]),
        ];
        assert_eq!(links, expected, "{name}");
    }
}

#[test]
fn links_of_panels_lead_to_sections_of_the_runbook() {
    let page = fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let headings = page.lines().filter_map(|line| line.strip_prefix("## "));
    let mut sections: BTreeSet<String> = headings.map(str::to_lowercase).collect();
    // The page as a whole.
    sections.insert(String::new());
    each(|dashboard, faults| {
        for panel in dashboard.panels() {
            for link in list(&panel["links"]) {
                let url = link["url"].as_str().unwrap();
                let section = url.strip_prefix(RUNBOOK).unwrap_or("elsewhere");
                if !sections.contains(section.trim_start_matches('#')) {
                    faults.push(format!("{}: {url}", dashboard.place(panel)));
                }
            }
        }
    });
}

/// What two widely used dashboards for Claude Code ask Prometheus for: "Claude Code Metrics"
/// (grafana.com 24993, and 25255 with the same names) and that of `claude-code-otel`.
const OF_COMMUNITY_DASHBOARDS: [&str; 8] = [
    "claude_code_session_count_total",
    "claude_code_token_usage_tokens_total",
    "claude_code_cost_usage_USD_total",
    "claude_code_active_time_seconds_total",
    "claude_code_lines_of_code_count_total",
    "claude_code_commit_count_total",
    "claude_code_pull_request_count_total",
    "claude_code_code_edit_tool_decision_total",
];

#[test]
fn community_dashboards_find_their_metrics() {
    let page = fs::read_to_string(root().join("docs/dashboards.md")).unwrap();
    for name in OF_COMMUNITY_DASHBOARDS {
        assert!(catalogue::find(name).is_some(), "{name}");
        assert!(page.contains(name), "docs/dashboards.md: {name}");
    }
}
