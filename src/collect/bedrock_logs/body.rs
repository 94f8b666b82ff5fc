//! What the bodies of a request and its answer tell besides text.
//!
//! Bodies hold prompts and code. They are walked once, a few known keys are read, and all else is
//! skipped without being kept.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::usage::Tier;

/// What an answer's body tells. Parts of a stream are merged: their counts only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) input: Option<u64>,
    pub(super) output: Option<u64>,
    pub(super) cache_read: Option<u64>,
    pub(super) cache_write: Option<u64>,
    pub(super) cache_write_5m: Option<u64>,
    pub(super) cache_write_1h: Option<u64>,
    pub(super) duration_ms: Option<u64>,
    pub(super) ttft_ms: Option<u64>,
    pub(super) is_refused: bool,
    pub(super) tier: Option<Tier>,
}

impl Answer {
    fn merge(&mut self, other: &Self) {
        let pairs = [
            (&mut self.input, other.input),
            (&mut self.output, other.output),
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_write, other.cache_write),
            (&mut self.cache_write_5m, other.cache_write_5m),
            (&mut self.cache_write_1h, other.cache_write_1h),
            (&mut self.duration_ms, other.duration_ms),
            (&mut self.ttft_ms, other.ttft_ms),
        ];
        for (mine, theirs) in pairs {
            *mine = (*mine).max(theirs);
        }
        self.is_refused |= other.is_refused;
        self.tier = other.tier.or(self.tier);
    }

    /// Where a count of this name stands.
    fn count(&mut self, key: &str) -> Option<&mut Option<u64>> {
        Some(match key {
            "input_tokens" | "inputTokens" | "inputTokenCount" => &mut self.input,
            "output_tokens" | "outputTokens" | "outputTokenCount" => &mut self.output,
            "cache_read_input_tokens" | "cacheReadInputTokens" | "cacheReadInputTokenCount" => {
                &mut self.cache_read
            }
            "cache_creation_input_tokens"
            | "cacheWriteInputTokens"
            | "cacheWriteInputTokenCount" => &mut self.cache_write,
            "ephemeral_5m_input_tokens" => &mut self.cache_write_5m,
            "ephemeral_1h_input_tokens" => &mut self.cache_write_1h,
            "invocationLatency" | "latencyMs" => &mut self.duration_ms,
            "firstByteLatency" => &mut self.ttft_ms,
            _ => return None,
        })
    }

    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if let Some(count) = self.count(key) {
            let Number(number) = map.next_value()?;
            *count = (*count).max(number);
            return Ok(());
        }
        match key {
            // Objects that hold counts, or hold one that does.
            "usage"
            | "message"
            | "metadata"
            | "metrics"
            | "delta"
            | "messageStop"
            | "cache_creation"
            | "amazon-bedrock-invocationMetrics" => self.merge(&map.next_value()?),
            // Converse tells lifetimes as a list.
            "cacheDetails" => {
                let Details(details) = map.next_value()?;
                for (ttl, count) in details {
                    let key = match &*ttl {
                        "5m" => "ephemeral_5m_input_tokens",
                        "1h" => "ephemeral_1h_input_tokens",
                        _ => continue,
                    };
                    if let Some(sum) = self.count(key) {
                        *sum = Some(sum.unwrap_or(0).saturating_add(count));
                    }
                }
            }
            "stop_reason" | "stopReason" => {
                let Word(word) = map.next_value()?;
                self.is_refused |= word == "refusal";
            }
            "service_tier" | "serviceTier" => {
                let Word(word) = map.next_value()?;
                self.tier = tier(&word).or(self.tier);
            }
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// A tier as Anthropic and Bedrock name it.
pub(super) fn tier(word: &str) -> Option<Tier> {
    match word {
        "default" => Some(Tier::Standard),
        word => Tier::parse(word),
    }
}

/// Bodies come as an object, as a list of a stream's parts, or as a text that holds either.
impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;

        impl<'de> Visitor<'de> for Walk {
            type Value = Answer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the body of an answer")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Answer, A::Error> {
                let mut answer = Answer::default();
                while let Some(Key(key)) = map.next_key()? {
                    answer.read(&key, &mut map)?;
                }
                Ok(answer)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Answer, A::Error> {
                let mut answer = Answer::default();
                while let Some(part) = seq.next_element::<Answer>()? {
                    answer.merge(&part);
                }
                Ok(answer)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Answer, E> {
                let is_nested = text.trim_start().starts_with(['{', '[']);
                let nested = is_nested.then(|| serde_json::from_str(text).ok());
                Ok(nested.flatten().unwrap_or_default())
            }

            fn visit_unit<E: de::Error>(self) -> Result<Answer, E> {
                Ok(Answer::default())
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Answer, E> {
                Ok(Answer::default())
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Answer, E> {
                Ok(Answer::default())
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Answer, E> {
                Ok(Answer::default())
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Answer, E> {
                Ok(Answer::default())
            }
        }

        deserializer.deserialize_any(Walk)
    }
}

/// What Claude Code says of itself in each request: `metadata.user_id`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// The installation, as `user.id` in its telemetry.
    pub(super) device: Option<String>,
    pub(super) session: Option<String>,
}

impl Request {
    /// `user_DEVICE_account_ACCOUNT_session_SESSION`, or the same as a JSON object.
    fn of(user_id: &str) -> Self {
        if user_id.starts_with('{') {
            let Ok(Named { device, session }) = serde_json::from_str(user_id) else {
                return Self::default();
            };
            return Self { device, session };
        }
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let Some((before, session)) = user_id.rsplit_once("_session_") else {
            return Self::default();
        };
        let device = before
            .strip_prefix("user_")
            .and_then(|rest| rest.split("_account_").next());
        Self {
            device: device.and_then(filled),
            session: filled(session),
        }
    }
}

#[derive(serde::Deserialize)]
struct Named {
    #[serde(rename = "device_id", default)]
    device: Option<String>,
    #[serde(rename = "session_id", default)]
    session: Option<String>,
}

impl<'de> Deserialize<'de> for Request {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields(found) = Fields::deserialize(deserializer)?;
        Ok(found)
    }
}

/// Walks the body of a request down to `metadata.user_id`.
struct Fields(Request);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;

        impl<'de> Visitor<'de> for Walk {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the body of a request")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut found = Fields(Request::default());
                while let Some(Key(key)) = map.next_key()? {
                    match &*key {
                        "metadata" => found = map.next_value()?,
                        "user_id" => {
                            let Word(word) = map.next_value()?;
                            found = Fields(Request::of(&word));
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(found)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Fields, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Fields(Request::default()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Fields, E> {
                let is_nested = text.trim_start().starts_with('{');
                let nested = is_nested.then(|| serde_json::from_str(text).ok());
                Ok(nested.flatten().unwrap_or(Fields(Request::default())))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Fields, E> {
                Ok(Fields(Request::default()))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Fields, E> {
                Ok(Fields(Request::default()))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Fields, E> {
                Ok(Fields(Request::default()))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Fields, E> {
                Ok(Fields(Request::default()))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Fields, E> {
                Ok(Fields(Request::default()))
            }
        }

        deserializer.deserialize_any(Walk)
    }
}

/// A key, borrowed where it needs no unescaping.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

/// A count; what is none is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Number(pub(super) Option<u64>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(Self(value.as_u64()))
    }
}

/// A word, or `{"type": WORD}`; anything else is empty.
struct Word(String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let word = value.as_str().or_else(|| value.get("type")?.as_str());
        Ok(Self(word.unwrap_or_default().to_owned()))
    }
}

/// Cache writes by lifetime.
struct Details(Vec<(String, u64)>);

impl<'de> Deserialize<'de> for Details {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let items = value.as_array().map_or(&[][..], Vec::as_slice);
        let details = items.iter().filter_map(|item| {
            let ttl = item.get("ttl")?.as_str()?.to_owned();
            Some((ttl, item.get("inputTokens")?.as_u64()?))
        });
        Ok(Self(details.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_stream_tells_its_counts_in_parts() {
        let parts = r#"[
            {"type":"message_start","message":{"id":"msg_1","content":[],"usage":{"input_tokens":3,
             "cache_creation_input_tokens":700,"cache_read_input_tokens":9000,
             "cache_creation":{"ephemeral_5m_input_tokens":200,"ephemeral_1h_input_tokens":500},
             "output_tokens":1,"service_tier":"standard"}}},
            {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a secret"}},
            {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":88}},
            {"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3,
             "outputTokenCount":88,"invocationLatency":2100,"firstByteLatency":640,
             "cacheReadInputTokenCount":9000,"cacheWriteInputTokenCount":700}}]"#;
        let expected = Answer {
            input: Some(3),
            output: Some(88),
            cache_read: Some(9_000),
            cache_write: Some(700),
            cache_write_5m: Some(200),
            cache_write_1h: Some(500),
            duration_ms: Some(2_100),
            ttft_ms: Some(640),
            is_refused: false,
            tier: Some(Tier::Standard),
        };
        assert_eq!(answer(parts), expected);
        let as_text = serde_json::to_string(parts).unwrap();
        assert_eq!(answer(&as_text), expected);
    }

    #[test]
    fn converse_has_words_of_its_own() {
        let body = r#"{"output":{"message":{"role":"assistant","content":[{"text":"hi"}]}},
            "stopReason":"end_turn","metrics":{"latencyMs":3640},"serviceTier":{"type":"priority"},
            "usage":{"inputTokens":35,"outputTokens":446,"totalTokens":481,
            "cacheReadInputTokens":10,"cacheReadInputTokenCount":10,"cacheWriteInputTokens":30,
            "cacheDetails":[{"inputTokens":10,"ttl":"5m"},{"inputTokens":20,"ttl":"1h"}]}}"#;
        let expected = Answer {
            input: Some(35),
            output: Some(446),
            cache_read: Some(10),
            cache_write: Some(30),
            cache_write_5m: Some(10),
            cache_write_1h: Some(20),
            duration_ms: Some(3_640),
            tier: Some(Tier::Priority),
            ..Answer::default()
        };
        assert_eq!(answer(body), expected);
    }

    #[test]
    fn what_is_no_count_is_absent_and_a_refusal_is_told() {
        let body =
            r#"{"usage":{"input_tokens":-1,"output_tokens":"many"},"stop_reason":"refusal"}"#;
        let refused = Answer {
            is_refused: true,
            ..Answer::default()
        };
        assert_eq!(answer(body), refused);
        for nothing in ["null", "true", "1", "-1", "1.5", "\"text\"", "[]", "{}"] {
            assert_eq!(answer(nothing), Answer::default());
        }
    }

    #[test]
    fn a_request_of_claude_code_names_installation_and_session() {
        let request = |user_id: &str| -> Request {
            let body = serde_json::json!({
                "messages": [{"role": "user", "content": "a secret"}],
                "metadata": {"user_id": user_id},
            });
            serde_json::from_str(&body.to_string()).unwrap()
        };
        let known = Request {
            device: Some("ab12".to_owned()),
            session: Some("2065c201-7c1d".to_owned()),
        };
        assert_eq!(request("user_ab12_account__session_2065c201-7c1d"), known);
        let object = r#"{"device_id":"ab12","account_uuid":"","session_id":"2065c201-7c1d"}"#;
        assert_eq!(request(object), known);
        assert_eq!(request("alice"), Request::default());
        for nothing in ["null", "[1]", "3", "\"text\"", "{\"metadata\":null}"] {
            let read: Request = serde_json::from_str(nothing).unwrap();
            assert_eq!(read, Request::default());
        }
    }
}
