//! Prompts, responses, tool inputs and bodies stay out, whether the client sends them or not.

use serde_json::json;

use super::support::{log, read_json};
use crate::otlp::Signal;

#[test]
fn no_byte_of_content_gets_past_the_mapping() {
    let secret = "SECRET-7f3a";
    let content = [
        "prompt",
        "response",
        "body",
        "tool_input",
        "tool_parameters",
        "error",
        "error.message",
        "body_ref",
        "full_command",
        "file_path",
        "hook_definitions",
        "workspace.host_paths",
    ];
    let events = [
        "user_prompt",
        "assistant_response",
        "api_request",
        "api_error",
        "api_retries_exhausted",
        "api_refusal",
        "api_request_body",
        "api_response_body",
        "tool_result",
        "tool_decision",
        "error",
        "something_new",
    ];
    for event in events {
        let mut attributes = json!({
            "event.name": event, "session.id": "s", "model": "m", "tool_name": "Bash",
            "request_id": "req_1", "event.sequence": 1,
        });
        for key in content {
            attributes[key] = json!(secret);
        }
        let mut body = log(&attributes);
        let record = &mut body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        record["body"] = json!({ "stringValue": secret });
        let (intake, refused, reasons) = read_json(Signal::Logs, &body);
        assert_eq!(refused, 0, "{event}: {reasons}");
        assert!(!intake.activities.is_empty());
        assert!(!format!("{intake:?}").contains(secret), "{event}");
    }
}

#[test]
fn content_in_place_of_a_number_is_not_quoted_in_the_answer() {
    let secret = "SECRET-7f3a";
    for key in ["input_tokens", "cost_usd", "duration_ms", "event.sequence"] {
        let mut attributes = json!({ "event.name": "api_request", "model": "m" });
        attributes[key] = json!(secret);
        let (_, refused, reasons) = read_json(Signal::Logs, &log(&attributes));
        assert_eq!(refused, 1);
        assert!(!reasons.contains(secret), "{reasons}");
    }
}
