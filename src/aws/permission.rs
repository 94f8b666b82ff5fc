//! What a call needs to be allowed, as IAM says it.

use serde_json::{Map, Value, json};

/// One action on one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Such as `cloudwatch:PutMetricData`.
    pub action: &'static str,
    /// An ARN, or `*`.
    pub resource: String,
    /// A key and the text that it must equal.
    pub condition: Option<(&'static str, String)>,
}

impl Permission {
    /// An action that knows no resources.
    pub fn anywhere(action: &'static str) -> Self {
        Self::on(action, "*")
    }

    /// An action on a resource.
    pub fn on(action: &'static str, resource: impl Into<String>) -> Self {
        Self {
            action,
            resource: resource.into(),
            condition: None,
        }
    }

    /// To put metrics into a namespace, and into no other.
    pub fn put_metrics(namespace: &str) -> Self {
        Self {
            condition: Some(("cloudwatch:namespace", namespace.to_owned())),
            ..Self::anywhere("cloudwatch:PutMetricData")
        }
    }

    /// The statement of a policy that allows it, in one line.
    pub fn statement(&self) -> String {
        let mut condition = String::new();
        if let Some((key, value)) = &self.condition {
            let equals: Map<String, Value> = Map::from_iter([((*key).to_owned(), json!(value))]);
            condition = format!(",\"Condition\":{}", json!({"StringEquals": equals}));
        }
        format!(
            "{{\"Effect\":\"Allow\",\"Action\":{},\"Resource\":{}{condition}}}",
            json!(self.action),
            json!(self.resource)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_least_privilege() {
        assert_eq!(
            Permission::put_metrics("ClaudeCode/Enterprise").statement(),
            r#"{"Effect":"Allow","Action":"cloudwatch:PutMetricData","Resource":"*","Condition":{"StringEquals":{"cloudwatch:namespace":"ClaudeCode/Enterprise"}}}"#
        );
        assert_eq!(
            Permission::on("sns:Publish", "arn:aws:sns:eu-west-1:111122223333:alarms").statement(),
            r#"{"Effect":"Allow","Action":"sns:Publish","Resource":"arn:aws:sns:eu-west-1:111122223333:alarms"}"#
        );
    }
}
