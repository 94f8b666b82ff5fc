//! The dashboard for CloudWatch: `dashboards/cloudwatch/claude-code.json` with a region and a
//! namespace filled in, and putting it into an account.

use aws_sdk_cloudwatch::Client;
use serde_json::Value;

use crate::aws::{Failure, Permission};

/// The body with `${region}` and `${namespace}` in place of what an installation decides.
const TEMPLATE: &str = include_str!("../../dashboards/cloudwatch/claude-code.json");

/// Characters of a dashboard's name (AWS: `PutDashboard`).
const MAX_NAME: usize = 255;

/// Why the dashboard is not in the account.
#[derive(Debug, thiserror::Error)]
#[error("cloudwatch:PutDashboard: {failure}{}", mend.as_ref().map(|mend| format!("; {mend}")).unwrap_or_default())]
pub struct PutError {
    failure: Failure,
    mend: Option<String>,
}

/// Creates or replaces a dashboard. Returns what CloudWatch has to say against its widgets. A
/// second attempt does no harm, so the SDK tries again where that helps.
pub async fn put(client: &Client, name: &str, body: String) -> Result<Vec<String>, PutError> {
    let call = client.put_dashboard().dashboard_name(name);
    let answer = call.dashboard_body(body).send().await.map_err(|error| {
        let failure = Failure::of(&error);
        let on = format!("arn:aws:cloudwatch::*:dashboard/{name}");
        let mend = failure.mend(&Permission::on("cloudwatch:PutDashboard", on));
        PutError { failure, mend }
    })?;
    let messages = answer.dashboard_validation_messages.unwrap_or_default();
    let text = |text: Option<String>| text.unwrap_or_default();
    let messages = messages.into_iter();
    let told = messages.map(|said| format!("{}: {}", text(said.data_path), text(said.message)));
    Ok(told.collect())
}

/// The dashboard's body, as `PutDashboard` takes it.
#[must_use]
pub fn body(region: &str, namespace: &str) -> String {
    let mut body: Value = serde_json::from_str(TEMPLATE).expect("a test reads the template");
    fill(
        &mut body,
        &[("${region}", region), ("${namespace}", namespace)],
    );
    body.to_string()
}

/// Replaces whole texts; so what is filled in can never break the JSON.
fn fill(value: &mut Value, known: &[(&str, &str)]) {
    match value {
        Value::String(text) => {
            if let Some((_, filled)) = known.iter().find(|(name, _)| name == text) {
                (*filled).clone_into(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, known)),
        Value::Object(fields) => fields.values_mut().for_each(|field| fill(field, known)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Checks a dashboard's name by CloudWatch's rule.
pub fn name(name: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
        return Err(format!(
            "must have 1 to {MAX_NAME} letters, digits, - and _ only"
        ));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::model::minute::{self, NAMESPACE};

    fn widgets() -> Vec<Value> {
        let body: Value = serde_json::from_str(&body("eu-central-1", NAMESPACE)).unwrap();
        body["widgets"].as_array().unwrap().clone()
    }

    /// All metrics of the widgets: namespace, name, how they are shown.
    fn metrics() -> Vec<Vec<Value>> {
        let of = |widget: &Value| widget["properties"]["metrics"].as_array().cloned();
        let metrics = widgets()
            .iter()
            .filter_map(of)
            .flatten()
            .collect::<Vec<_>>();
        let parts = metrics
            .iter()
            .map(|metric| metric.as_array().unwrap().clone());
        parts.collect()
    }

    #[test]
    fn every_metric_is_one_of_the_minutes_and_in_the_namespace() {
        let mut shown = BTreeSet::new();
        for metric in metrics() {
            let [namespace, name, options] = &metric[..] else {
                panic!("{metric:?}");
            };
            assert_eq!(namespace, NAMESPACE);
            let name = name.as_str().unwrap().to_owned();
            assert!(minute::find(&name).is_some(), "{name}");
            let stat = options["stat"].as_str().unwrap();
            let known = ["Average", "Sum", "Maximum", "p50", "p90", "p95", "p99"];
            assert!(known.contains(&stat), "{name}: {stat}");
            shown.insert(name);
        }
        assert_eq!(shown.len(), minute::MINUTE_METRICS.len(), "{shown:?}");
    }

    #[test]
    fn the_body_keeps_the_rules_of_put_dashboard() {
        let widgets = widgets();
        assert!((1..=500).contains(&widgets.len()));
        let mut taken = BTreeSet::new();
        for widget in &widgets {
            let [x, y, width, height] =
                ["x", "y", "width", "height"].map(|key| widget[key].as_u64().unwrap());
            assert!(
                x <= 23 && (1..=24).contains(&width) && x + width <= 24,
                "{widget}"
            );
            assert!((1..=1000).contains(&height), "{widget}");
            let cells = (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y)));
            assert!(cells.into_iter().all(|cell| taken.insert(cell)), "{widget}");
            let properties = &widget["properties"];
            match widget["type"].as_str() {
                Some("text") => assert!(properties["markdown"].is_string(), "{widget}"),
                Some("metric") => {
                    assert_eq!(properties["region"], "eu-central-1", "{widget}");
                    assert!(properties["title"].is_string(), "{widget}");
                    let period = properties["period"].as_u64().unwrap();
                    assert!(period >= 60 && period % 60 == 0, "{widget}");
                }
                _ => panic!("{widget}"),
            }
        }
    }

    #[test]
    fn region_and_namespace_are_filled_in_and_cannot_break_out() {
        let text = body("x", "a\"b");
        assert!(!text.contains("${"), "{text}");
        let body: Value = serde_json::from_str(&text).unwrap();
        let first = &body["widgets"][1]["properties"];
        assert_eq!(first["region"], "x");
        assert_eq!(first["metrics"][0][0], json!("a\"b"));
    }

    #[test]
    fn a_name_has_letters_digits_and_two_marks() {
        assert_eq!(name("Claude-Code_1"), Ok("Claude-Code_1".to_owned()));
        for bad in ["", "a b", "ä", &"x".repeat(256)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
