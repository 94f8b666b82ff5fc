//! The shape of a line, and the counts that it or the body within it tells.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::collect::bedrock_logs::body::{Answer, Number, Request};
use crate::model::tokens::Tokens;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Line<'a> {
    #[serde(borrow)]
    pub(super) schema_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) account_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) region: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) request_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) operation: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) model_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) error_code: Option<Cow<'a, str>>,
    pub(super) service_tier: Option<serde_json::Value>,
    /// An object; a list of them in some pipelines.
    pub(super) identity: Option<serde_json::Value>,
    pub(super) request_metadata: Option<BTreeMap<String, serde_json::Value>>,
    pub(super) input: Option<Input>,
    #[serde(borrow)]
    pub(super) output: Option<Output<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Input {
    #[serde(rename = "inputTokenCount")]
    pub(super) tokens: Number,
    #[serde(rename = "cacheReadInputTokenCount")]
    pub(super) cache_read: Number,
    #[serde(rename = "cacheWriteInputTokenCount")]
    pub(super) cache_write: Number,
    #[serde(rename = "inputBodyJson")]
    pub(super) body: Request,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Output<'a> {
    #[serde(rename = "outputTokenCount")]
    pub(super) tokens: Number,
    #[serde(rename = "outputBodyJson")]
    pub(super) body: Answer,
    #[serde(borrow, rename = "outputBodyS3Path")]
    pub(super) body_elsewhere: Option<Cow<'a, str>>,
}

/// The record in a line: exports of log groups put the time before it.
pub(super) fn record_of(line: &[u8]) -> &[u8] {
    const LONGEST_PREFIX: usize = 40;
    let start = line.iter().take(LONGEST_PREFIX).position(|b| *b == b'{');
    start.map_or(line, |start| &line[start..])
}

/// The counts of a record: its own, and those of the body where it has none. `None` if neither
/// tells input or output.
pub(super) fn counts_of(input: &Input, output: &Output<'_>) -> Option<Tokens> {
    let body = &output.body;
    let Number(own_input) = input.tokens;
    let Number(own_output) = output.tokens;
    let counts = (own_input.or(body.input), own_output.or(body.output));
    if counts == (None, None) {
        return None;
    }
    let Number(own_read) = input.cache_read;
    let Number(own_write) = input.cache_write;
    Some(tokens(
        counts,
        own_read.or(body.cache_read),
        own_write,
        body,
    ))
}

pub(super) fn tokens(
    (input, output): (Option<u64>, Option<u64>),
    read: Option<u64>,
    write: Option<u64>,
    body: &Answer,
) -> Tokens {
    let five = body.cache_write_5m.unwrap_or(0).min(Tokens::MAX);
    let hour = body.cache_write_1h.unwrap_or(0).min(Tokens::MAX);
    let write = write.or(body.cache_write).unwrap_or(five + hour);
    // A split that tells of more than there is tells of something else.
    let (five, hour) = if five + hour <= write {
        (five, hour)
    } else {
        (0, 0)
    };
    let bounded = |count: u64| count.min(Tokens::MAX);
    Tokens {
        input: bounded(input.unwrap_or(0)),
        output: bounded(output.unwrap_or(0)),
        cache_read: bounded(read.unwrap_or(0)),
        cache_write_5m: five,
        cache_write_1h: hour,
        cache_write_unknown: bounded(write - five - hour),
    }
}
