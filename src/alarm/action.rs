//! What an alarm may do: actions are ARNs, or references to what has one.
//!
//! AWS: `PutMetricAlarm`, `AlarmActions`; template reference, return values.

use std::str::FromStr;

use super::fault::hint;
use super::properties::Properties;
use crate::model::alarm::Actions;

const MAX_ACTIONS: usize = 5;
const MAX_ACTION: usize = 1024;

/// Whose ARNs CloudWatch takes.
const SERVICES: [&str; 8] = [
    "sns",
    "lambda",
    "ssm",
    "ssm-incidents",
    "autoscaling",
    "automate",
    "swf",
    "aiops",
];

/// Types of resources whose attributes are known, as far as actions name them.
const ATTRIBUTES: [(&str, &[&str]); 10] = [
    ("AWS::SNS::Topic", &["TopicArn", "TopicName"]),
    (
        "AWS::Lambda::Function",
        &[
            "Arn",
            "SnapStartResponse",
            "SnapStartResponse.ApplyOn",
            "SnapStartResponse.OptimizationStatus",
        ],
    ),
    ("AWS::Lambda::Alias", &["AliasArn"]),
    ("AWS::Lambda::Version", &["FunctionArn", "Version"]),
    ("AWS::SQS::Queue", &["Arn", "QueueName", "QueueUrl"]),
    ("AWS::IAM::Role", &["Arn", "RoleId"]),
    ("AWS::AutoScaling::ScalingPolicy", &["Arn", "PolicyName"]),
    ("AWS::SSMIncidents::ResponsePlan", &["Arn"]),
    ("AWS::CloudWatch::Alarm", &["Arn"]),
    ("AWS::Chatbot::SlackChannelConfiguration", &["Arn"]),
];

/// Why a resource of that type does not have an attribute; `None` if it has, or is not known.
pub(super) fn lacks(kind: &str, attribute: &str) -> Option<String> {
    let (_, known) = ATTRIBUTES.iter().find(|(known, _)| *known == kind)?;
    if known.contains(&attribute) {
        return None;
    }
    let hint = hint(attribute, known.iter().copied());
    Some(format!(
        "{kind} has no attribute {attribute}, it has {}{hint}",
        known.join(", ")
    ))
}

/// Reads the actions of an alarm.
pub(super) fn actions(properties: &mut Properties<'_>) -> Actions {
    let (alarm, ok) = (
        list(properties, "AlarmActions"),
        list(properties, "OKActions"),
    );
    let insufficient_data = list(properties, "InsufficientDataActions");
    Actions {
        enabled: properties
            .word(
                "ActionsEnabled",
                |word| bool::from_str(word).ok(),
                &["true", "false"],
            )
            .unwrap_or(true),
        alarm,
        ok,
        insufficient_data,
    }
}

fn list(properties: &mut Properties<'_>, property: &str) -> Vec<String> {
    let actions = properties.texts(property);
    if actions.len() > MAX_ACTIONS {
        let message = format!(
            "must be at most {MAX_ACTIONS} actions, got {}",
            actions.len()
        );
        properties.fault(property, message);
    }
    for (line, action) in &actions {
        if let Some(message) = wrong(action) {
            properties.fault_at(*line, property, message);
        }
    }
    actions.into_iter().map(|(_, action)| action).collect()
}

/// What is wrong with an action. What only the account knows stands as `${NAME}` in it.
fn wrong(action: &str) -> Option<String> {
    if action.is_empty() || action.len() > MAX_ACTION {
        return Some(format!("an action must have 1 to {MAX_ACTION} characters"));
    }
    let what = "an action is an ARN, or refers to a resource that has one";
    let (text, references) = without_references(action);
    if text == "*" {
        let name = references[0];
        let is_pseudo = name.starts_with("AWS::") && name != "AWS::NotificationARNs";
        let is_name = name
            .split_once('.')
            .is_some_and(|(_, attribute)| attribute.ends_with("Name"));
        return (is_pseudo || is_name).then(|| format!("{action} is no ARN: {what}"));
    }
    if text.starts_with('*') {
        // Its beginning is known to the account only.
        return None;
    }
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, service, _, _, resource] = parts.as_slice() else {
        return Some(format!("{action} is no ARN: {what}"));
    };
    if !(partition.starts_with("aws") || partition.contains('*')) || resource.is_empty() {
        return Some(format!("{action} is no ARN: {what}"));
    }
    if SERVICES.contains(service) || service.contains('*') {
        return None;
    }
    let hint = hint(service, SERVICES);
    Some(format!(
        "{action}: an alarm acts on {} only{hint}",
        SERVICES.join(", ")
    ))
}

/// The text with `*` for each reference, and what they refer to.
fn without_references(text: &str) -> (String, Vec<&str>) {
    let (mut without, mut references, mut rest) = (String::new(), Vec::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let (name, behind) = after.split_once('}').unwrap_or((after, ""));
        without.push_str(before);
        without.push('*');
        references.push(name);
        rest = behind;
    }
    without.push_str(rest);
    (without, references)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_an_arn_or_a_reference() {
        for good in [
            "arn:aws:sns:eu-central-1:111122223333:alarms",
            "arn:aws-cn:lambda:cn-north-1:111122223333:function:page",
            "arn:aws:automate:eu-central-1:ec2:reboot",
            "arn:aws:ssm:eu-central-1:111122223333:opsitem:1#CATEGORY=Security",
            "arn:aws:ssm-incidents::111122223333:responseplan/page",
            "arn:aws:autoscaling:eu-central-1:111122223333:scalingPolicy:1:autoScalingGroupName/a",
            "arn:${AWS::Partition}:sns:${AWS::Region}:${AWS::AccountId}:alarms",
            "${Topic}",
            "${Topic.TopicArn}",
            "${Prefix}:alarms",
        ] {
            assert_eq!(wrong(good), None);
        }
        for bad in [
            "",
            "notanarn",
            "foo-${AWS::Region}",
            "${AWS::Region}",
            "${Topic.TopicName}",
            "arn:aws:sns",
            "arn:aws:sns:eu-central-1:111122223333:",
            "arn:gcp:sns:eu-central-1:111122223333:alarms",
            "https://example.com/hook",
        ] {
            assert!(wrong(bad).is_some(), "{bad}");
        }
        let near = wrong("arn:aws:lamda:eu-central-1:111122223333:function:page").unwrap();
        assert!(near.ends_with("; did you mean lambda?"), "{near}");
    }

    #[test]
    fn an_attribute_that_a_type_does_not_have_is_told() {
        assert_eq!(lacks("AWS::SNS::Topic", "TopicArn"), None);
        assert_eq!(lacks("Custom::Thing", "Foo"), None);
        assert_eq!(
            lacks("AWS::SNS::Topic", "TopicArm").unwrap(),
            "AWS::SNS::Topic has no attribute TopicArm, it has TopicArn, TopicName; did you mean \
             TopicArn?"
        );
    }
}
