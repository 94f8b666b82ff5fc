//! What Slack checks of a message, and what it answers (Slack: incoming webhooks, Block Kit).

use serde_json::Value;

/// The error that Slack answers, `None` if it takes the message.
pub(super) fn slack_refuses(body: &Value) -> Option<&'static str> {
    if !body.is_object() {
        return Some("invalid_payload");
    }
    if body["text"].as_str().is_none_or(str::is_empty) {
        return Some("no_text");
    }
    let Some(blocks) = body["blocks"].as_array() else {
        return Some("invalid_blocks");
    };
    if blocks.is_empty() || blocks.len() > 50 || !blocks.iter().all(is_block) {
        return Some("invalid_blocks");
    }
    (body["blocks"].to_string().chars().count() > 13_200).then_some("msg_blocks_too_long")
}

fn is_block(block: &Value) -> bool {
    match block["type"].as_str() {
        Some("header") => is_text(&block["text"], "plain_text", 150),
        Some("section") => {
            let fields = block["fields"].as_array();
            let fields_hold = fields.is_none_or(|fields| {
                (1..=10).contains(&fields.len())
                    && fields.iter().all(|field| is_text(field, "mrkdwn", 2_000))
            });
            let has_either = fields.is_some() || !block["text"].is_null();
            let text_holds = block["text"].is_null() || is_text(&block["text"], "mrkdwn", 3_000);
            has_either && fields_hold && text_holds
        }
        _ => false,
    }
}

fn is_text(text: &Value, kind: &str, most: usize) -> bool {
    let length = text["text"].as_str().map_or(0, |text| text.chars().count());
    text["type"] == kind && (1..=most).contains(&length)
}
