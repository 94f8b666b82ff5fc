//! From a line of the log to the facts of one request. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::body::{Answer, Number, Request, tier};
use crate::collect::bedrock::is_of_other_vendor;
use crate::config::BedrockLogs;
use crate::model::identify::{name, user_name};
use crate::model::identity::{Identity, Origin};
use crate::model::names::ModelNames;
use crate::model::tokens::Tokens;
use crate::model::usage::{Band, Outcome, Sku, Tier, UsageRecord, source};

/// Operations that use a model as Claude Code does (Amazon Bedrock: model invocation logging).
const OPERATIONS: [&str; 4] = [
    "InvokeModel",
    "InvokeModelWithResponseStream",
    "Converse",
    "ConverseStream",
];

/// How sessions are named that no person has named: SDKs, instances, functions.
const MACHINE_MADE: [&str; 6] = [
    "i-",
    "botocore-session-",
    "aws-sdk-",
    "aws-go-sdk-",
    "assumerolesession",
    "assume-role-from-",
];

/// Why a line is no usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Skip {
    /// It is not JSON, or lacks what each record has.
    BadLine,
    /// Another kind of record.
    OtherSchema,
    OtherOperation,
    /// A model of another vendor.
    OtherModel,
    /// It worked, and nothing tells how many tokens it took.
    NoTokens,
}

impl Skip {
    pub const ALL: [Self; 5] = [
        Self::BadLine,
        Self::OtherSchema,
        Self::OtherOperation,
        Self::OtherModel,
        Self::NoTokens,
    ];

    /// The word in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadLine => "bad_line",
            Self::OtherSchema => "other_schema",
            Self::OtherOperation => "other_operation",
            Self::OtherModel => "other_model",
            Self::NoTokens => "no_tokens",
        }
    }
}

/// One request as the log tells it, without prompt and answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// `requestId`.
    pub id: String,
    pub at: Timestamp,
    /// Twelve digits.
    pub account: Option<String>,
    pub user: Option<Box<str>>,
    /// The installation of Claude Code.
    pub device: Option<Box<str>>,
    pub team: Option<Box<str>>,
    pub project: Option<Box<str>>,
    pub session: Option<String>,
    pub model_id: String,
    /// Where it was asked for; prices follow it.
    pub region: Option<String>,
    pub tier: Tier,
    pub tokens: Tokens,
    pub outcome: Outcome,
    pub status_code: Option<u16>,
    pub duration_ms: Option<u32>,
    pub ttft_ms: Option<u32>,
    /// Where the body of the answer is if the record itself tells no counts.
    pub counts_in: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Line<'a> {
    #[serde(borrow)]
    schema_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    account_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    region: Option<Cow<'a, str>>,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    operation: Option<Cow<'a, str>>,
    #[serde(borrow)]
    model_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error_code: Option<Cow<'a, str>>,
    service_tier: Option<serde_json::Value>,
    /// An object; a list of them in some pipelines.
    identity: Option<serde_json::Value>,
    request_metadata: Option<BTreeMap<String, serde_json::Value>>,
    input: Option<Input>,
    #[serde(borrow)]
    output: Option<Output<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Input {
    #[serde(rename = "inputTokenCount")]
    tokens: Number,
    #[serde(rename = "cacheReadInputTokenCount")]
    cache_read: Number,
    #[serde(rename = "cacheWriteInputTokenCount")]
    cache_write: Number,
    #[serde(rename = "inputBodyJson")]
    body: Request,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Output<'a> {
    #[serde(rename = "outputTokenCount")]
    tokens: Number,
    #[serde(rename = "outputBodyJson")]
    body: Answer,
    #[serde(borrow, rename = "outputBodyS3Path")]
    body_elsewhere: Option<Cow<'a, str>>,
}

/// Reads one line. The error says why it is no usage, never what it holds.
pub(super) fn read(line: &[u8], config: &BedrockLogs) -> Result<Entry, Skip> {
    let line: Line<'_> = serde_json::from_slice(record_of(line)).map_err(|_| Skip::BadLine)?;
    if line.schema_type.as_deref() != Some("ModelInvocationLog") {
        return Err(Skip::OtherSchema);
    }
    if !OPERATIONS.contains(&line.operation.as_deref().unwrap_or_default()) {
        return Err(Skip::OtherOperation);
    }
    let filled = |text: &Option<Cow<'_, str>>| {
        let text = text.as_deref().map(str::trim);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let needed = |text| filled(text).ok_or(Skip::BadLine);
    let model_id = needed(&line.model_id)?;
    if !config.all_models && is_of_other_vendor(&model_id) {
        return Err(Skip::OtherModel);
    }
    let at: Timestamp = needed(&line.timestamp)?
        .parse()
        .map_err(|_| Skip::BadLine)?;
    let at = Timestamp::from_millisecond(at.as_millisecond()).map_err(|_| Skip::BadLine)?;
    let input = line.input.unwrap_or_default();
    let output = line.output.unwrap_or_default();
    let error = filled(&line.error_code);
    let answer = &output.body;
    let counts = counts_of(&input, &output);
    let mut counts_in = None;
    if counts.is_none() && error.is_none() {
        counts_in = Some(filled(&output.body_elsewhere).ok_or(Skip::NoTokens)?);
    }
    let metadata = |key: &str| {
        let metadata = line.request_metadata.as_ref().filter(|_| !key.is_empty())?;
        metadata.get(key)?.as_str()
    };
    let arn = line.identity.as_ref().and_then(arn_of);
    let request = input.body;
    let device = request.device.as_deref().and_then(name);
    let own = metadata(&config.metadata_user).and_then(user_name);
    let tier_said = line.service_tier.as_ref().and_then(|value| {
        let word = value.as_str().or_else(|| value.get("type")?.as_str())?;
        tier(word)
    });
    let small = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
    Ok(Entry {
        id: needed(&line.request_id)?,
        at,
        account: filled(&line.account_id),
        user: own.or_else(|| principal(arn?, config, device.is_some())),
        device,
        team: metadata(&config.metadata_team).and_then(name),
        project: metadata(&config.metadata_project).and_then(name),
        session: metadata(&config.metadata_session)
            .map(str::to_owned)
            .or(request.session),
        model_id,
        region: filled(&line.region),
        tier: answer.tier.or(tier_said).unwrap_or_default(),
        tokens: counts.unwrap_or_default(),
        outcome: match &error {
            Some(_) => Outcome::Error,
            None if answer.is_refused => Outcome::Refused,
            None => Outcome::Ok,
        },
        status_code: error.as_deref().and_then(status_of),
        duration_ms: small(answer.duration_ms),
        ttft_ms: small(answer.ttft_ms),
        counts_in,
    })
}

/// The record in a line: exports of log groups put the time before it.
fn record_of(line: &[u8]) -> &[u8] {
    const LONGEST_PREFIX: usize = 40;
    let start = line.iter().take(LONGEST_PREFIX).position(|b| *b == b'{');
    start.map_or(line, |start| &line[start..])
}

/// The counts of a record: its own, and those of the body where it has none. `None` if neither
/// tells input or output.
fn counts_of(input: &Input, output: &Output<'_>) -> Option<Tokens> {
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

fn tokens(
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

fn arn_of(identity: &serde_json::Value) -> Option<&str> {
    let one = identity
        .as_array()
        .map_or(Some(identity), |all| all.first());
    one?.get("arn")?.as_str().filter(|arn| !arn.is_empty())
}

/// Who a principal is: the name of its session, of the IAM user or of the federated user. A
/// session that no person has named stands for its role, unless the installation is known.
fn principal(arn: &str, config: &BedrockLogs, has_device: bool) -> Option<Box<str>> {
    let resource = arn.splitn(6, ':').nth(5)?;
    let (kind, path) = resource.split_once('/')?;
    match kind {
        "assumed-role" => {
            let (role, session) = path.rsplit_once('/')?;
            let role = role.rsplit('/').next()?;
            let is_shared = config.shared_roles.iter().any(|shared| shared == role);
            if is_shared || is_machine_made(session) {
                let role = || user_name(&format!("role:{role}"));
                return (!has_device).then(role).flatten();
            }
            let prefixes = config.session_prefixes.iter();
            let own = prefixes
                .filter_map(|prefix| session.strip_prefix(&**prefix))
                .find(|own| !own.is_empty());
            user_name(own.unwrap_or(session))
        }
        "user" | "federated-user" => user_name(path.rsplit('/').next()?),
        _ => None,
    }
}

fn is_machine_made(session: &str) -> bool {
    let session = session.to_ascii_lowercase();
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    MACHINE_MADE.iter().any(|start| session.starts_with(start)) || digits(&session)
}

/// The HTTP status of an error (Amazon Bedrock runtime API: errors).
fn status_of(code: &str) -> Option<u16> {
    let code = code.rsplit(['#', '.']).next().unwrap_or(code);
    Some(match code {
        "ValidationException" | "ServiceQuotaExceededException" => 400,
        "AccessDeniedException" => 403,
        "ResourceNotFoundException" => 404,
        "ModelTimeoutException" => 408,
        "ModelErrorException" | "ModelStreamErrorException" => 424,
        "ThrottlingException" | "ModelNotReadyException" => 429,
        "InternalServerException" => 500,
        "ServiceUnavailableException" => 503,
        _ => return None,
    })
}

impl Entry {
    /// Takes the counts from the body of the answer, read from where `counts_in` says.
    ///
    /// Errors: the body tells none either.
    pub(super) fn counted_by(mut self, body: &[u8]) -> Result<Self, Skip> {
        let body: Answer = serde_json::from_slice(body).map_err(|_| Skip::NoTokens)?;
        if (body.input, body.output) == (None, None) {
            return Err(Skip::NoTokens);
        }
        self.tokens = tokens((body.input, body.output), body.cache_read, None, &body);
        self.counts_in = None;
        Ok(self)
    }

    /// The record of this request.
    #[must_use]
    pub fn record(self, names: &ModelNames) -> UsageRecord {
        let model = names.resolve(&self.model_id, Some("bedrock"));
        let origin = match (&self.user, &self.device) {
            (Some(_), _) => Origin::Principal,
            (None, Some(_)) => Origin::Device,
            (None, None) => Origin::Unknown,
        };
        UsageRecord {
            source: Arc::from(source::BEDROCK_LOGS),
            request_id: Some(self.id.as_str().into()),
            id: self.id.into(),
            client_request_id: None,
            session: self.session.map(Arc::from),
            reservation: None,
            at: self.at,
            booked_at: self.at,
            identity: Arc::new(Identity {
                user: self.user,
                origin,
                device: self.device,
                account: self.account.map(Box::from),
                team: self.team,
                project: self.project,
                ..Identity::default()
            }),
            sku: Arc::new(Sku {
                provider: model.provider,
                model: model.model,
                raw_model: self.model_id.into(),
                scope: model.scope,
                region: self.region.map(Box::from),
                tier: self.tier,
                band: Band::of(&self.tokens),
            }),
            tokens: self.tokens,
            outcome: self.outcome,
            status_code: self.status_code,
            duration_ms: self.duration_ms,
            ttft_ms: self.ttft_ms,
            tools: None,
            query_source: None,
            entrypoint: None,
            client_cost: None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Config, Environment};

    const ROLE: &str = "arn:aws:sts::111122223333:assumed-role/ClaudeCode";

    pub(crate) fn config() -> BedrockLogs {
        let config = Config::parse("", &Environment::default()).unwrap();
        config.bedrock_logs
    }

    /// A record of `InvokeModel` as S3 holds it.
    fn invoked(id: &str) -> Value {
        json!({
            "schemaType": "ModelInvocationLog", "schemaVersion": "1.0",
            "timestamp": "2026-11-20T09:15:04Z", "accountId": "111122223333",
            "identity": {"arn": format!("{ROLE}/Alice@example.com")},
            "region": "us-east-1", "requestId": id, "operation": "InvokeModel",
            "modelId": "arn:aws:bedrock:us-east-1:111122223333:inference-profile/\
                        us.anthropic.claude-sonnet-4-6-v1:0",
            "input": {
                "inputContentType": "application/json",
                "inputBodyJson": {
                    "anthropic_version": "bedrock-2023-05-31", "max_tokens": 32000,
                    "messages": [{"role": "user", "content": "a secret question"}]
                },
                "inputTokenCount": 12, "cacheReadInputTokenCount": 20_000,
                "cacheWriteInputTokenCount": 900
            },
            "output": {
                "outputContentType": "application/json",
                "outputBodyJson": {
                    "id": "msg_1", "type": "message", "stop_reason": "end_turn",
                    "content": [{"type": "text", "text": "a secret answer"}],
                    "usage": {"input_tokens": 12, "output_tokens": 340,
                        "cache_read_input_tokens": 20_000, "cache_creation_input_tokens": 900,
                        "cache_creation": {"ephemeral_5m_input_tokens": 300,
                            "ephemeral_1h_input_tokens": 600}}
                },
                "outputTokenCount": 340
            },
            "inferenceRegion": "us-west-2"
        })
    }

    /// A line of a log.
    pub(crate) fn record(id: &str) -> String {
        invoked(id).to_string()
    }

    fn read_one(value: &Value) -> Result<Entry, Skip> {
        read(value.to_string().as_bytes(), &config())
    }

    /// The record with some fields changed.
    fn with(changes: Value) -> Value {
        let mut record = invoked("r1");
        merge(&mut record, changes);
        record
    }

    fn merge(into: &mut Value, changes: Value) {
        match (into, changes) {
            (Value::Object(fields), Value::Object(changes)) => {
                for (key, change) in changes {
                    merge(fields.entry(key).or_insert(Value::Null), change);
                }
            }
            (into, changes) => *into = changes,
        }
    }

    fn entry() -> Entry {
        Entry {
            id: "r1".to_owned(),
            at: "2026-11-20T09:15:04Z".parse().unwrap(),
            account: Some("111122223333".to_owned()),
            user: Some("alice@example.com".into()),
            device: None,
            team: None,
            project: None,
            session: None,
            model_id: "arn:aws:bedrock:us-east-1:111122223333:inference-profile/\
                       us.anthropic.claude-sonnet-4-6-v1:0"
                .to_owned(),
            region: Some("us-east-1".to_owned()),
            tier: Tier::Standard,
            tokens: Tokens {
                input: 12,
                output: 340,
                cache_read: 20_000,
                cache_write_5m: 300,
                cache_write_1h: 600,
                cache_write_unknown: 0,
            },
            outcome: Outcome::Ok,
            status_code: None,
            duration_ms: None,
            ttft_ms: None,
            counts_in: None,
        }
    }

    #[test]
    fn a_record_tells_who_used_what_and_nothing_of_what_was_said() {
        let read = read_one(&invoked("r1")).unwrap();
        assert_eq!(read, entry());
        assert!(!format!("{read:?}").contains("secret"));
        let exported = format!("2026-11-20T09:15:05.000Z {}", record("r1"));
        assert_eq!(
            super::read(exported.as_bytes(), &config()).unwrap(),
            entry()
        );
        let record = read.record(&ModelNames::default());
        assert_eq!(
            (
                &*record.sku.provider,
                &*record.sku.model,
                &*record.sku.scope
            ),
            ("bedrock", "claude-sonnet-4-6", "us")
        );
        assert_eq!(
            (&*record.id, record.request_id.as_deref()),
            ("r1", Some("r1"))
        );
        assert_eq!(record.identity.account.as_deref(), Some("111122223333"));
    }

    #[test]
    fn a_stream_without_counts_of_its_own_tells_them_in_its_parts() {
        let body = json!([
            {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1,
                "cache_creation": {"ephemeral_5m_input_tokens": 5,
                    "ephemeral_1h_input_tokens": 0}, "cache_creation_input_tokens": 5}}},
            {"type": "message_delta", "delta": {"stop_reason": "refusal"},
                "usage": {"output_tokens": 9}},
            {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 7,
                "outputTokenCount": 9, "invocationLatency": 812, "firstByteLatency": 301}}
        ]);
        let line = with(json!({
            "operation": "InvokeModelWithResponseStream",
            "input": {"inputTokenCount": null, "cacheReadInputTokenCount": null,
                "cacheWriteInputTokenCount": null},
            "output": {"outputTokenCount": null, "outputBodyJson": body}
        }));
        let expected = Entry {
            tokens: Tokens {
                input: 7,
                output: 9,
                cache_write_5m: 5,
                ..Tokens::default()
            },
            outcome: Outcome::Refused,
            duration_ms: Some(812),
            ttft_ms: Some(301),
            ..entry()
        };
        assert_eq!(read_one(&line), Ok(expected));
    }

    #[test]
    fn without_a_body_the_lifetime_of_cache_writes_is_unknown() {
        let expected = Entry {
            tokens: Tokens {
                cache_write_5m: 0,
                cache_write_1h: 0,
                cache_write_unknown: 900,
                ..entry().tokens
            },
            ..entry()
        };
        let line = with(json!({"output": {"outputBodyJson": null}}));
        assert_eq!(read_one(&line), Ok(expected.clone()));
        let usage = json!({"cache_creation": {"ephemeral_1h_input_tokens": 5_000}});
        let mut line = invoked("r1");
        line["output"]["outputBodyJson"]["usage"] = usage;
        assert_eq!(read_one(&line), Ok(expected));
    }

    #[test]
    fn an_error_counts_as_one_without_tokens() {
        let line = with(json!({
            "errorCode": "ThrottlingException", "input": {"inputTokenCount": null,
                "cacheReadInputTokenCount": null, "cacheWriteInputTokenCount": null},
            "output": null
        }));
        let expected = Entry {
            tokens: Tokens::default(),
            outcome: Outcome::Error,
            status_code: Some(429),
            ..entry()
        };
        assert_eq!(read_one(&line), Ok(expected));
    }

    #[test]
    fn counts_are_looked_for_in_another_object_only_where_the_record_has_none() {
        let without = json!({
            "input": {"inputTokenCount": null, "cacheReadInputTokenCount": null,
                "cacheWriteInputTokenCount": null},
            "output": {"outputTokenCount": null, "outputBodyJson": null,
                "outputBodyS3Path": "s3://logs/AWSLogs/data/r1_output.json.gz"}
        });
        let found = read_one(&with(without)).unwrap();
        let path = "s3://logs/AWSLogs/data/r1_output.json.gz";
        assert_eq!(found.counts_in.as_deref(), Some(path));
        let body = invoked("r1")["output"]["outputBodyJson"].to_string();
        assert_eq!(found.clone().counted_by(body.as_bytes()), Ok(entry()));
        assert_eq!(found.counted_by(b"{}"), Err(Skip::NoTokens));
        let large = json!({"output": {"outputBodyS3Path": path}});
        assert_eq!(read_one(&with(large)).unwrap().counts_in, None);
    }

    #[test]
    fn what_is_no_usage_is_told_by_its_reason() {
        let none = json!({
            "input": {"inputTokenCount": null}, "output": {"outputTokenCount": null,
                "outputBodyJson": null}
        });
        let cases = [
            (json!({"schemaType": "Other"}), Skip::OtherSchema),
            (
                json!({"operation": "ListFoundationModels"}),
                Skip::OtherOperation,
            ),
            (json!({"modelId": "amazon.nova-pro-v1:0"}), Skip::OtherModel),
            (json!({"requestId": ""}), Skip::BadLine),
            (json!({"timestamp": "yesterday"}), Skip::BadLine),
            (json!({"modelId": 3}), Skip::BadLine),
            (none, Skip::NoTokens),
        ];
        for (changes, expected) in cases {
            assert_eq!(read_one(&with(changes)), Err(expected));
        }
        assert_eq!(read(b"not JSON", &config()), Err(Skip::BadLine));
    }

    fn user(arn: &str, config: &BedrockLogs) -> Option<String> {
        let line = with(json!({"identity": {"arn": arn}})).to_string();
        let entry = read(line.as_bytes(), config).unwrap();
        entry.user.map(Into::into)
    }

    #[test]
    fn a_principal_is_the_person_behind_it_where_there_is_one() {
        let config = BedrockLogs {
            shared_roles: vec!["Gateway".to_owned()],
            session_prefixes: vec!["ccwb-".to_owned()],
            ..config()
        };
        let sts = "arn:aws:sts::111122223333";
        let iam = "arn:aws-us-gov:iam::111122223333";
        let cases = [
            (format!("{ROLE}/Bob@Example.com"), Some("bob@example.com")),
            (
                format!("{ROLE}/ccwb-bob@example.com"),
                Some("bob@example.com"),
            ),
            (
                format!("{sts}:assumed-role/Gateway/pod-7"),
                Some("role:gateway"),
            ),
            (format!("{ROLE}/i-0abc12de"), Some("role:claudecode")),
            (
                format!("{ROLE}/botocore-session-17"),
                Some("role:claudecode"),
            ),
            (format!("{ROLE}/1700000000"), Some("role:claudecode")),
            (format!("{iam}:user/people/carol"), Some("carol")),
            (format!("{sts}:federated-user/dave"), Some("dave")),
            (format!("{iam}:root"), None),
            ("nonsense".to_owned(), None),
        ];
        for (arn, expected) in cases {
            assert_eq!(user(&arn, &config).as_deref(), expected, "{arn}");
        }
        let listed = with(json!({"identity": [{"arn": format!("{ROLE}/eve")}]}));
        assert_eq!(read_one(&listed).unwrap().user.as_deref(), Some("eve"));
    }

    #[test]
    fn claude_code_and_gateways_tell_session_and_person() {
        let request = json!({
            "identity": {"arn": format!("{ROLE}/i-0abc12de")},
            "input": {"inputBodyJson": {"metadata": {"user_id":
                "user_ab12_account__session_2065c201"}}}
        });
        let expected = Entry {
            user: None,
            device: Some("ab12".into()),
            session: Some("2065c201".to_owned()),
            ..entry()
        };
        assert_eq!(read_one(&with(request)), Ok(expected));
        let config = BedrockLogs {
            metadata_user: "user".to_owned(),
            metadata_team: "team".to_owned(),
            metadata_session: "session".to_owned(),
            ..config()
        };
        let tagged = with(json!({"requestMetadata":
            {"user": "Frank", "team": "payments", "session": "s-9", "other": 1}}));
        let expected = Entry {
            user: Some("frank".into()),
            team: Some("payments".into()),
            session: Some("s-9".to_owned()),
            ..entry()
        };
        assert_eq!(read(tagged.to_string().as_bytes(), &config), Ok(expected));
    }
}
