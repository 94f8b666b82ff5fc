//! The difference between a set of alarms and those of an account. Nothing is sent from here.
//!
//! An alarm is known by its name. Those that belong to the set carry the tag `tallyd` with the
//! set's name; nothing else is ever deleted, and nothing else is changed unless it is adopted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use crate::model::alarm::{Alarm, Statistic};
use crate::model::minute::encoded;

/// The tag that says to which set an alarm belongs.
pub const OWNER_TAG: &str = "tallyd";

/// The tags of an alarm that a CloudFormation stack owns begin so.
const STACK_TAG: &str = "aws:cloudformation:stack-name";

/// All that `PutMetricAlarm` sets, in CloudWatch's words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    pub description: String,
    pub namespace: String,
    pub metric: String,
    pub dimensions: BTreeMap<String, String>,
    /// `Average` or `p95`.
    pub statistic: String,
    pub period_seconds: i32,
    pub evaluation_periods: i32,
    pub datapoints_to_alarm: i32,
    pub threshold: f64,
    pub comparison: String,
    pub missing_data: String,
    /// `evaluate` or `ignore`, for percentiles; else empty.
    pub low_samples: String,
    pub actions_enabled: bool,
    pub alarm_actions: BTreeSet<String>,
    pub ok_actions: BTreeSet<String>,
    pub insufficient_data_actions: BTreeSet<String>,
    /// What the account's alarm has and a set never gives: a unit, metric math, a query.
    pub beyond: BTreeSet<&'static str>,
}

/// An alarm as the set wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub name: String,
    pub configuration: Configuration,
    pub tags: BTreeMap<String, String>,
}

/// An alarm as the account has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Existing {
    pub name: String,
    pub arn: String,
    pub configuration: Configuration,
    pub tags: BTreeMap<String, String>,
}

/// Something that has to be done for the account to be as the set.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Create(Wanted),
    /// The whole configuration is written if any of it differs.
    Update {
        wanted: Wanted,
        arn: String,
        fields: Vec<Field>,
        /// Tags to set: they are not part of an update.
        tags: BTreeMap<String, String>,
    },
    Delete {
        name: String,
    },
}

/// A part of an alarm that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub old: String,
    pub new: String,
}

/// What has to be done, and what is left as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub changes: Vec<Change>,
    pub unchanged: Vec<String>,
    /// Alarms of this set's names that belong to someone else, with the owner.
    pub foreign: Vec<(String, String)>,
    /// Alarms of the set in the account that are not in the files any more.
    pub left: Vec<String>,
}

/// What to do with alarms that are not simply the set's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Deletes alarms of the set that the files do not have any more.
    pub prunes: bool,
    /// Takes over alarms of the set's names that do not carry its tag.
    pub adopts: bool,
}

/// The dimensions as CloudWatch has them.
fn dimensions(alarm: &Alarm, namespace: &str) -> BTreeMap<String, String> {
    if alarm.namespace != namespace {
        return alarm.dimensions.clone();
    }
    let sent = alarm.dimensions.iter();
    sent.map(|(name, value)| (name.clone(), encoded(value)))
        .collect()
}

/// The alarm's configuration and tags, if all its actions are known.
///
/// `tags` are those of its template. `topic` stands for whatever a template only refers to. What is
/// in `namespace`, tallyd's own, is named as it is sent.
/// Errors: an action that is still a reference.
pub fn wanted(
    alarm: &Alarm,
    tags: &BTreeMap<String, String>,
    set: &str,
    topic: Option<&str>,
    namespace: &str,
) -> Result<Wanted, String> {
    let resolve = |actions: &[String]| -> Result<BTreeSet<String>, String> {
        let resolve = |action: &String| match (!action.contains("${"), topic) {
            (true, _) => Ok(action.clone()),
            (false, Some(topic)) => Ok(topic.to_owned()),
            (false, None) => Err(format!(
                "{}: the action {action} is known to the stack only; name a topic with --topic ARN",
                alarm.name
            )),
        };
        actions.iter().map(resolve).collect()
    };
    let small = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let low_samples = match (alarm.statistic, alarm.evaluates_low_samples) {
        (Statistic::Percentile(_), true) => "evaluate",
        (Statistic::Percentile(_), false) => "ignore",
        _ => "",
    };
    let configuration = Configuration {
        description: alarm.description.clone(),
        namespace: alarm.namespace.clone(),
        metric: alarm.metric.clone(),
        dimensions: dimensions(alarm, namespace),
        statistic: alarm.statistic.name(),
        period_seconds: small(alarm.period_seconds),
        evaluation_periods: small(alarm.evaluation_periods),
        datapoints_to_alarm: small(alarm.datapoints_to_alarm),
        threshold: alarm.threshold,
        comparison: alarm.comparison.name().to_owned(),
        missing_data: alarm.missing_data.name().to_owned(),
        low_samples: low_samples.to_owned(),
        actions_enabled: alarm.actions.enabled,
        alarm_actions: resolve(&alarm.actions.alarm)?,
        ok_actions: resolve(&alarm.actions.ok)?,
        insufficient_data_actions: resolve(&alarm.actions.insufficient_data)?,
        beyond: BTreeSet::new(),
    };
    let mut tags = tags.clone();
    tags.insert(OWNER_TAG.to_owned(), set.to_owned());
    Ok(Wanted {
        name: alarm.name.clone(),
        configuration,
        tags,
    })
}

/// Compares a set with the account's alarms.
#[must_use]
pub fn plan(set: &str, wanted: Vec<Wanted>, account: &[Existing], reach: Reach) -> Plan {
    let mut plan = Plan::default();
    let mut names = BTreeSet::new();
    for wanted in wanted {
        names.insert(wanted.name.clone());
        match account.iter().find(|alarm| alarm.name == wanted.name) {
            None => plan.changes.push(Change::Create(wanted)),
            Some(existing) => plan.compare(set, wanted, existing, reach),
        }
    }
    for alarm in account {
        let own = alarm.tags.get(OWNER_TAG).is_some_and(|owner| owner == set);
        if !own || names.contains(&alarm.name) {
            continue;
        }
        let name = alarm.name.clone();
        if reach.prunes {
            plan.changes.push(Change::Delete { name });
        } else {
            plan.left.push(name);
        }
    }
    plan
}

impl Plan {
    fn compare(&mut self, set: &str, wanted: Wanted, existing: &Existing, reach: Reach) {
        let owner = existing.tags.get(OWNER_TAG);
        if owner.is_none_or(|owner| owner != set) && !reach.adopts {
            let owner = match (owner, existing.tags.get(STACK_TAG)) {
                (Some(owner), _) => format!("the set {owner}"),
                (None, Some(stack)) => format!("the CloudFormation stack {stack}"),
                (None, None) => "nobody that tallyd knows".to_owned(),
            };
            self.foreign.push((wanted.name, owner));
            return;
        }
        let fields = differences(&existing.configuration, &wanted.configuration);
        let mut tags = wanted.tags.clone();
        tags.retain(|key, value| existing.tags.get(key) != Some(value));
        if fields.is_empty() && tags.is_empty() {
            self.unchanged.push(wanted.name);
        } else {
            self.changes.push(Change::Update {
                wanted,
                arn: existing.arn.clone(),
                fields,
                tags,
            });
        }
    }

    /// True if the account is as the set: nothing is to be changed and nothing stands in the way.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.changes.is_empty() && self.foreign.is_empty()
    }
}

fn differences(old: &Configuration, new: &Configuration) -> Vec<Field> {
    let fields = |of: &Configuration| -> Vec<(&'static str, String)> {
        let list = |items: &BTreeSet<String>| shown(items.iter().cloned());
        let pairs = of.dimensions.iter();
        vec![
            ("description", of.description.clone()),
            ("namespace", of.namespace.clone()),
            ("metric", of.metric.clone()),
            (
                "dimensions",
                shown(pairs.map(|(key, value)| format!("{key}={value}"))),
            ),
            ("statistic", of.statistic.clone()),
            ("period", of.period_seconds.to_string()),
            ("evaluation periods", of.evaluation_periods.to_string()),
            ("datapoints to alarm", of.datapoints_to_alarm.to_string()),
            ("threshold", of.threshold.to_string()),
            ("comparison", of.comparison.clone()),
            ("missing data", of.missing_data.clone()),
            ("low samples", of.low_samples.clone()),
            ("actions enabled", of.actions_enabled.to_string()),
            ("alarm actions", list(&of.alarm_actions)),
            ("ok actions", list(&of.ok_actions)),
            (
                "insufficient data actions",
                list(&of.insufficient_data_actions),
            ),
            (
                "beyond a metric alarm",
                shown(of.beyond.iter().map(|&word| word.to_owned())),
            ),
        ]
    };
    let pairs = fields(old).into_iter().zip(fields(new));
    pairs
        .filter(|((_, old), (_, new))| old != new)
        .map(|((name, old), (_, new))| Field { name, old, new })
        .collect()
}

fn shown(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

impl Change {
    /// The name of the alarm.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Create(wanted) | Self::Update { wanted, .. } => &wanted.name,
            Self::Delete { name } => name,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, fields, tags) = match self {
            Self::Create(_) => ("create", &[][..], None),
            Self::Update { fields, tags, .. } => ("update", &fields[..], Some(tags)),
            Self::Delete { .. } => ("delete", &[][..], None),
        };
        write!(f, "{verb} {}", self.name())?;
        for Field { name, old, new } in fields {
            write!(
                f,
                "\n    {name}: {} -> {}",
                or_nothing(old),
                or_nothing(new)
            )?;
        }
        for (key, value) in tags.into_iter().flatten() {
            write!(f, "\n    tag {key}: -> {value}")?;
        }
        Ok(())
    }
}

fn or_nothing(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for change in &self.changes {
            let _ = writeln!(text, "{change}");
        }
        for (name, owner) in &self.foreign {
            let _ = writeln!(
                text,
                "refused {name}: it belongs to {owner}; --adopt takes it over"
            );
        }
        for name in &self.left {
            let _ = writeln!(
                text,
                "left {name}: it is not in the files any more; --prune deletes it"
            );
        }
        let changes = match self.changes.len() {
            0 if self.foreign.is_empty() => "nothing to do".to_owned(),
            1 => "1 change".to_owned(),
            count => format!("{count} changes"),
        };
        let unchanged = self.unchanged.len();
        write!(f, "{text}{changes}, {unchanged} unchanged")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::alarm::{Actions, Comparison, MissingData};
    use crate::model::minute::NAMESPACE;

    const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:alarms";
    const BOTH: Reach = Reach {
        prunes: true,
        adopts: true,
    };

    fn alarm(name: &str) -> Alarm {
        Alarm {
            name: name.to_owned(),
            description: "It breaks.".to_owned(),
            metric: "error_rate".to_owned(),
            namespace: "ClaudeCode/Enterprise".to_owned(),
            dimensions: BTreeMap::new(),
            statistic: Statistic::Average,
            period_seconds: 300,
            evaluation_periods: 2,
            datapoints_to_alarm: 2,
            threshold: 5.0,
            comparison: Comparison::GreaterThan,
            missing_data: MissingData::NotBreaching,
            evaluates_low_samples: true,
            actions: Actions {
                enabled: true,
                alarm: vec![TOPIC.to_owned()],
                ..Actions::default()
            },
            severity: "critical".to_owned(),
            runbook: None,
        }
    }

    fn template_tags() -> BTreeMap<String, String> {
        [("severity".to_owned(), "critical".to_owned())].into()
    }

    fn of_set(name: &str) -> Wanted {
        wanted(&alarm(name), &template_tags(), "mine", None, NAMESPACE).unwrap()
    }

    fn in_account(wanted: Wanted) -> Existing {
        Existing {
            arn: format!(
                "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:{}",
                wanted.name
            ),
            name: wanted.name,
            configuration: wanted.configuration,
            tags: wanted.tags,
        }
    }

    fn planned(account: &[Existing], reach: Reach) -> String {
        plan("mine", vec![of_set("A")], account, reach).to_string()
    }

    #[test]
    fn what_was_applied_needs_nothing() {
        let plan = plan("mine", vec![of_set("A")], &[in_account(of_set("A"))], BOTH);
        assert!(plan.is_done());
        assert_eq!(plan.to_string(), "nothing to do, 1 unchanged");
    }

    #[test]
    fn an_alarm_deleted_by_hand_is_created_again() {
        assert_eq!(
            planned(&[], Reach::default()),
            "create A\n1 change, 0 unchanged"
        );
    }

    #[test]
    fn an_alarm_changed_by_hand_is_shown_field_by_field() {
        let mut changed = in_account(of_set("A"));
        changed.configuration.threshold = 7.5;
        changed.configuration.alarm_actions.clear();
        changed.configuration.beyond.insert("unit");
        changed.tags.insert("severity".to_owned(), "low".to_owned());
        let shown = format!(
            "update A\n    threshold: 7.5 -> 5\n    alarm actions: (none) -> {TOPIC}\n    \
             beyond a metric alarm: unit -> (none)\n    tag severity: -> critical\n\
             1 change, 0 unchanged"
        );
        assert_eq!(planned(&[changed], Reach::default()), shown);
    }

    #[test]
    fn only_alarms_of_the_set_are_deleted_and_only_if_asked_to() {
        let mut foreign = in_account(of_set("C"));
        foreign.tags.clear();
        let mut other = in_account(of_set("D"));
        other.tags.insert(OWNER_TAG.to_owned(), "other".to_owned());
        let account = [
            in_account(of_set("A")),
            in_account(of_set("B")),
            foreign,
            other,
        ];
        assert_eq!(planned(&account, BOTH), "delete B\n1 change, 1 unchanged");
        let left = "left B: it is not in the files any more; --prune deletes it\n\
                    nothing to do, 1 unchanged";
        assert_eq!(planned(&account, Reach::default()), left);
    }

    #[test]
    fn an_alarm_of_someone_else_is_changed_only_if_adopted() {
        let mut foreign = in_account(of_set("A"));
        foreign.tags = [(STACK_TAG.to_owned(), "web".to_owned())].into();
        let plan = plan(
            "mine",
            vec![of_set("A")],
            &[foreign.clone()],
            Reach::default(),
        );
        assert!(!plan.is_done());
        let refused = "refused A: it belongs to the CloudFormation stack web; --adopt takes it \
                       over\n0 changes, 0 unchanged";
        assert_eq!(plan.to_string(), refused);
        let adopted = "update A\n    tag severity: -> critical\n    tag tallyd: -> mine\n\
                       1 change, 0 unchanged";
        assert_eq!(planned(&[foreign], BOTH), adopted);
    }

    #[test]
    fn a_topic_that_the_stack_makes_has_to_be_named() {
        let mut alarm = alarm("A");
        alarm.actions.alarm = vec!["${Topic}".to_owned()];
        let reason =
            "A: the action ${Topic} is known to the stack only; name a topic with --topic ARN";
        assert_eq!(
            wanted(&alarm, &template_tags(), "mine", None, NAMESPACE),
            Err(reason.to_owned())
        );
        assert_eq!(
            wanted(&alarm, &template_tags(), "mine", Some(TOPIC), NAMESPACE),
            Ok(of_set("A"))
        );
    }
}
