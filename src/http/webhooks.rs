//! `POST /api/v1/webhooks/github` and `/gitlab`: merged changes, as the forges tell them.
//!
//! No bearer token is needed: a delivery is believed for its signature (GitHub) or token
//! (GitLab). Nothing of a delivery is kept but what counting needs, no title and no text.

mod github;
mod gitlab;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::Api;
use super::body;
use super::error::Problem;
use crate::config::{Business, Secret};
use crate::model::business::{BusinessEvent, EventKind, MICRO};
use crate::model::catalogue;
use crate::model::glob::Glob;
use crate::model::label;
use crate::store::{BusinessEffect, Delivery, Taken};

/// Longest id of a delivery that is kept.
const MAX_DELIVERY: usize = 128;

/// What became of a delivery.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookReceipt)]
pub(super) struct Receipt {
    /// `new`, `changed`, `unchanged`, `replayed`, `ignored` or `pong`.
    #[schema(example = "new")]
    result: &'static str,
    /// Why it was ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

type Answer = Result<(StatusCode, Json<Receipt>), Problem>;

/// What a delivery tells.
#[derive(Debug, PartialEq)]
enum Told {
    /// The forge asks whether anybody is there.
    Ping,
    Change(BusinessEvent),
    /// Commits in which Claude Code took part.
    Commits(Vec<Box<str>>),
    /// Nothing that counts, and why.
    Nothing(&'static str),
}

/// A merged change in the words that both forges have.
#[derive(Debug, Default)]
struct Merged<'a> {
    source: &'static str,
    /// Number of the project and of the change within it.
    id: String,
    at: Option<Timestamp>,
    updated: Option<Timestamp>,
    title: &'a str,
    /// Everything in which a co-author may be named.
    texts: Vec<&'a str>,
    labels: Vec<&'a str>,
    author: Option<&'a str>,
    /// True if Claude itself is the author.
    by_claude: bool,
    commit: Option<&'a str>,
    branch: &'a str,
    default_branch: &'a str,
}

impl Merged<'_> {
    fn told(self, business: &Business) -> Result<Told, Problem> {
        let counts = if business.branches.is_empty() {
            self.branch == self.default_branch || self.default_branch.is_empty()
        } else {
            business.branches.iter().any(|one| one.matches(self.branch))
        };
        if !counts {
            return Ok(Told::Nothing("it was merged into another branch"));
        }
        let needed = |time: Option<Timestamp>, field: &str| {
            time.ok_or_else(|| Problem::body(format!("the time {field} is missing")))
        };
        let has_label = |globs: &[Glob]| {
            let fits = |label: &str| globs.iter().any(|glob| glob.matches(label));
            self.labels.iter().any(|label| fits(&label.to_lowercase()))
        };
        let claude = self.by_claude
            || has_label(&business.claude_labels)
            || self
                .texts
                .iter()
                .any(|text| crate::model::business::claude_took_part(text));
        let updated = needed(self.updated, "updated_at")?;
        Ok(Told::Change(BusinessEvent {
            source: self.source.into(),
            id: self.id.into(),
            at: self.at.unwrap_or(updated),
            updated,
            kind: EventKind::Change.name().into(),
            is_fix: business
                .fixes
                .is_fix(self.title, self.labels.iter().copied()),
            claude: Some(claude),
            commit: self.commit.filter(|hash| is_hash(hash)).map(Into::into),
            user: self.author.and_then(label::fold).map(Into::into),
            team: None,
            amount: i64::try_from(MICRO).unwrap_or(i64::MAX),
        }))
    }
}

/// Hashes of SHA-1 and SHA-256.
fn is_hash(text: &str) -> bool {
    (40..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Of the commits of a push, those in which Claude Code took part, and the last one if there are
/// any: it may be the merge of the others.
fn commits<'a>(
    commits: impl Iterator<Item = (&'a str, &'a str)>,
    last: Option<&'a str>,
) -> Vec<Box<str>> {
    let signed = commits.filter(|(_, message)| crate::model::business::claude_took_part(message));
    let mut hashes: Vec<Box<str>> = signed
        .map(|(hash, _)| hash)
        .filter(|hash| is_hash(hash))
        .map(Into::into)
        .collect();
    if let Some(last) = last.filter(|last| is_hash(last))
        && !hashes.is_empty()
        && !hashes.iter().any(|hash| &**hash == last)
    {
        hashes.push(last.into());
    }
    hashes
}

/// Report a change on GitHub
///
/// Takes the events `pull_request` and `push`; others are answered and ignored. The signature
/// `X-Hub-Signature-256` is checked over the body as sent. A delivery that comes again changes
/// nothing, and neither does one that tells of an earlier time.
#[utoipa::path(
    post, path = "/api/v1/webhooks/github", tag = "business",
    operation_id = "reportGithubChange",
    security(()),
    params(
        ("X-Hub-Signature-256" = String, Header, description = "`sha256=` and the HMAC of the body."),
        ("X-GitHub-Event" = String, Header, description = "The event."),
        ("X-GitHub-Delivery" = String, Header, description = "The same for each attempt."),
    ),
    request_body(content = serde_json::Value, description = "The event, as JSON."),
    responses(
        (status = 200, description = "It is on disk.", body = Receipt),
        (status = 202, description = "It tells nothing that counts.", body = Receipt),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unsigned),
        (status = 404, response = super::openapi::WebhookOff),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 422, response = super::openapi::QueryTooLarge),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn github(State(api): State<Arc<Api>>, headers: HeaderMap, body: Body) -> Answer {
    let answer = take_github(&api, &headers, body).await;
    count(&api, github::SOURCE, &answer);
    answer
}

/// Report a change on GitLab
///
/// Takes the events `Merge Request Hook` and `Push Hook`; others are answered and ignored. The
/// token `X-Gitlab-Token` is compared in constant time. A delivery that comes again changes
/// nothing, and neither does one that tells of an earlier time.
#[utoipa::path(
    post, path = "/api/v1/webhooks/gitlab", tag = "business",
    operation_id = "reportGitlabChange",
    security(()),
    params(
        ("X-Gitlab-Token" = String, Header, description = "The secret token."),
        ("X-Gitlab-Event" = String, Header, description = "The event."),
    ),
    request_body(content = serde_json::Value, description = "The event, as JSON."),
    responses(
        (status = 200, description = "It is on disk.", body = Receipt),
        (status = 202, description = "It tells nothing that counts.", body = Receipt),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unsigned),
        (status = 404, response = super::openapi::WebhookOff),
        (status = 413, response = super::openapi::TooLarge),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 422, response = super::openapi::QueryTooLarge),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn gitlab(State(api): State<Arc<Api>>, headers: HeaderMap, body: Body) -> Answer {
    let answer = take_gitlab(&api, &headers, body).await;
    count(&api, gitlab::SOURCE, &answer);
    answer
}

async fn take_github(api: &Api, headers: &HeaderMap, body: Body) -> Answer {
    let config = api.reports.config.load_full();
    let business = &config.business;
    let secret = open(business.github_secret.as_ref(), github::SOURCE)?;
    let body = body::read(headers, body, api.body_limits).await?;
    let signature = header(headers, "x-hub-signature-256");
    if !signed(secret, &body, signature) {
        return Err(unsigned(
            "X-Hub-Signature-256: must be sha256= and the HMAC-SHA256 of the body with the \
             webhook's secret",
        ));
    }
    json_only(headers)?;
    let event = header(headers, "x-github-event");
    let told = github::read(event, &body, business)?;
    let id = header(headers, "x-github-delivery");
    keep(api, github::SOURCE, id, &body, told).await
}

async fn take_gitlab(api: &Api, headers: &HeaderMap, body: Body) -> Answer {
    let config = api.reports.config.load_full();
    let business = &config.business;
    let token = open(business.gitlab_token.as_ref(), gitlab::SOURCE)?;
    // The token is all there is: without it the body is not even read.
    if !same(token.expose(), header(headers, "x-gitlab-token")) {
        return Err(unsigned(
            "X-Gitlab-Token: must be the webhook's secret token",
        ));
    }
    json_only(headers)?;
    let body = body::read(headers, body, api.body_limits).await?;
    let event = header(headers, "x-gitlab-event");
    let told = gitlab::read(event, &body, business)?;
    // The same for each attempt; older servers have neither.
    let id = ["idempotency-key", "x-gitlab-event-uuid"]
        .map(|name| header(headers, name))
        .into_iter()
        .find(|id| !id.is_empty())
        .unwrap_or_default();
    keep(api, gitlab::SOURCE, id, &body, told).await
}

fn open<'a>(
    secret: Option<&'a Secret<String>>,
    source: &str,
) -> Result<&'a Secret<String>, Problem> {
    secret.ok_or_else(|| {
        let setting = match source {
            github::SOURCE => "business.github_secret_file",
            _ => "business.gitlab_token_file",
        };
        Problem::new(
            StatusCode::NOT_FOUND,
            "webhook_off",
            format!("this webhook is closed: {setting} is not set"),
        )
    })
}

fn unsigned(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "signature_invalid", detail)
}

fn json_only(headers: &HeaderMap) -> Result<(), Problem> {
    body::media_type(headers, &["application/json"])
        .map(drop)
        .map_err(|problem| Problem {
            detail: format!(
                "{}; choose it as the webhook's content type",
                problem.detail
            ),
            ..problem
        })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// True if the header holds the HMAC-SHA256 of the body, compared in constant time.
fn signed(secret: &Secret<String>, body: &[u8], signature: &str) -> bool {
    let digits = signature.strip_prefix("sha256=").unwrap_or_default();
    let mut given = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return false;
    }
    for (byte, place) in given.iter_mut().zip((0..64).step_by(2)) {
        let Ok(read) = u8::from_str_radix(&digits[place..place + 2], 16) else {
            return false;
        };
        *byte = read;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .expect("a key of any length is taken");
    mac.update(body);
    mac.verify_slice(&given).is_ok()
}

/// True if two secrets are equal. The time tells neither where they differ nor how long one is.
fn same(secret: &str, given: &str) -> bool {
    let (secret, given) = (Sha256::digest(secret), Sha256::digest(given));
    let differing = secret
        .iter()
        .zip(given.iter())
        .fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(differing) == 0
}

/// Keeps what was told, and answers.
async fn keep(api: &Api, source: &'static str, id: &str, body: &[u8], told: Told) -> Answer {
    let delivery = Delivery {
        source,
        id: delivery_id(id, body),
    };
    let now = api.clock.now();
    let effect = match told {
        Told::Ping => return Ok(receipt(StatusCode::OK, "pong", None)),
        Told::Nothing(reason) => {
            return Ok(receipt(StatusCode::ACCEPTED, "ignored", Some(reason)));
        }
        Told::Change(event) => api.ledger.take_change(delivery, event, now).await?,
        Told::Commits(hashes) => api.ledger.take_commits(delivery, hashes, now).await?,
    };
    publish(api, &effect);
    Ok(receipt(StatusCode::OK, name_of(effect.taken), None))
}

/// The id of a delivery; without a usable one, the hash of its body.
fn delivery_id(id: &str, body: &[u8]) -> Box<str> {
    if !id.is_empty() && id.len() <= MAX_DELIVERY {
        return id.into();
    }
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(body) {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

/// Shows what a change of business events did.
pub(super) fn publish(api: &Api, effect: &BusinessEffect) {
    for (claude, total) in &effect.bugs {
        api.registry
            .raise(catalogue::BUGS_FIXED, &[claude], (*total).into());
    }
    if let Some(reason) = effect.left_out {
        api.registry
            .add(catalogue::MINUTE_LEFT_OUT, &[reason.name()], 1);
    }
}

const fn name_of(taken: Taken) -> &'static str {
    match taken {
        Taken::New => "new",
        Taken::Changed => "changed",
        Taken::Unchanged | Taken::Conflict => "unchanged",
        Taken::Replayed => "replayed",
    }
}

const fn receipt(
    status: StatusCode,
    result: &'static str,
    reason: Option<&'static str>,
) -> (StatusCode, Json<Receipt>) {
    (status, Json(Receipt { result, reason }))
}

fn count(api: &Api, provider: &str, answer: &Answer) {
    let result = match answer {
        Ok((_, Json(receipt))) => receipt.result,
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => "signature",
        // A closed door and a full disk say nothing of the delivery.
        Err(problem) if problem.status.is_server_error() || problem.code == "webhook_off" => return,
        Err(_) => "invalid",
    };
    let labels = [provider, result];
    api.registry.add(catalogue::WEBHOOK_DELIVERIES, &labels, 1);
}

fn broken(error: &serde_json::Error) -> Problem {
    Problem::body(format!("the event cannot be read: {error}"))
}
