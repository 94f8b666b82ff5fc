//! What became of a message, and the one way to post one over HTTP.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode};

/// Time for one attempt. A target that takes longer is asked again later.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for a connection, TLS and proxy included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer that are looked at: it is a word, or a line that says what is wrong.
const MAX_ANSWER: usize = 1_024;

/// Characters of an answer that are repeated in the log.
const MAX_SHOWN: usize = 200;

/// A target that asks for more time than this is asked again anyway.
const LONGEST_WISH: Duration = Duration::from_hours(1);

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Taken,
    /// The content is not taken; parts of it may be.
    Unfit(String),
    /// The target itself says that it takes nothing, now or later.
    Refused(String),
    /// Worth another attempt.
    Again(Again),
}

/// Why another attempt is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Again {
    pub(super) why: String,
    /// How long the target wants to be left alone.
    pub(super) wish: Option<Duration>,
    /// It may have been taken.
    pub(super) is_fate_unknown: bool,
}

/// An answer as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) wish: Option<Duration>,
    pub(super) text: String,
}

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the client for notifications")]
pub struct ClientError(#[from] reqwest::Error);

/// Makes the client for all targets that speak HTTP: through the proxy that the environment names,
/// trusting the system's authorities (or those of `SSL_CERT_FILE`) and those given as PEM.
pub fn client(authorities: Option<&[u8]>) -> Result<Client, ClientError> {
    let mut builder = Client::builder()
        .timeout(ATTEMPT_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("tallyd/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = authorities {
        builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem)?);
    }
    Ok(builder.build()?)
}

/// Sends a request. `Err` if there was no answer.
pub(super) async fn send(request: RequestBuilder, now: Timestamp) -> Result<Answer, Again> {
    match request.send().await {
        Ok(response) => Ok(read(response, now).await),
        Err(error) => Err(unanswered(error)),
    }
}

async fn read(mut response: Response, now: Timestamp) -> Answer {
    let mut text = Vec::new();
    while text.len() < MAX_ANSWER {
        // What broke off after the status changes nothing.
        let Ok(Some(chunk)) = response.chunk().await else {
            break;
        };
        text.extend_from_slice(&chunk);
    }
    text.truncate(MAX_ANSWER);
    Answer {
        status: response.status(),
        wish: wish(response.headers(), now),
        text: String::from_utf8_lossy(&text).trim().to_owned(),
    }
}

/// The words of an error must not hold the URL: it is a secret.
fn unanswered(error: reqwest::Error) -> Again {
    let is_fate_unknown = !error.is_connect() && !error.is_builder();
    let mut why = if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        "no answer".to_owned()
    };
    let error = error.without_url();
    if let Some(reason) = deepest(&error) {
        why = format!("{why} ({reason})");
    }
    Again {
        why,
        wish: None,
        is_fate_unknown,
    }
}

/// The reason at the bottom of the chain.
fn deepest(error: &dyn std::error::Error) -> Option<String> {
    let mut reason = error.source()?;
    while let Some(source) = reason.source() {
        reason = source;
    }
    Some(reason.to_string())
}

impl Answer {
    /// What an answer means by the rules of HTTP: 2xx is taken; 400, 413 and 422 are about the
    /// content; the rest is worth another attempt. It may come from a proxy or a gateway, and what
    /// it speaks of (a path, a key, a redirection) can be mended.
    pub(super) fn outcome(self) -> Outcome {
        let why = self.why();
        match self.status.as_u16() {
            200..=299 => Outcome::Taken,
            400 | 413 | 422 => Outcome::Unfit(why),
            _ => Outcome::Again(self.again(why)),
        }
    }

    /// Another attempt because of this answer.
    pub(super) fn again(&self, why: String) -> Again {
        Again {
            why,
            wish: self.wish,
            // A gateway does not know what became of the request behind it.
            is_fate_unknown: matches!(self.status.as_u16(), 408 | 502 | 504),
        }
    }

    /// The status and what the target said, in one line without control characters.
    pub(super) fn why(&self) -> String {
        let said = self.text.chars().filter(|c| !c.is_control());
        let said: String = said.take(MAX_SHOWN).collect();
        let status = self.status.as_u16();
        if said.is_empty() {
            format!("status {status}")
        } else {
            format!("status {status}: {said}")
        }
    }
}

/// `Retry-After`, in seconds or as a date.
fn wish(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wish = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        let seconds = at.as_second() - now.as_second();
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    };
    Some(wish.min(LONGEST_WISH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, text: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            wish: None,
            text: text.to_owned(),
        }
    }

    #[test]
    fn an_answer_is_taken_tried_again_or_about_the_content() {
        let kinds = [
            200, 204, 302, 400, 401, 404, 408, 410, 413, 425, 429, 500, 502, 503,
        ]
        .map(|status| match answer(status, "").outcome() {
            Outcome::Taken => "taken",
            Outcome::Unfit(_) => "unfit",
            Outcome::Refused(_) => "refused",
            Outcome::Again(again) if again.is_fate_unknown => "again?",
            Outcome::Again(_) => "again",
        });
        assert_eq!(
            kinds,
            [
                "taken", "taken", "again", "unfit", "again", "again", "again?", "again", "unfit",
                "again", "again", "again", "again?", "again"
            ]
        );
    }

    #[test]
    fn a_wish_is_seconds_or_a_date_and_has_a_bound() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            wish(&headers, now).map(|wish| wish.as_secs())
        };
        assert_eq!(of("7"), Some(7));
        assert_eq!(of("Sun, 22 Nov 2026 12:00:30 GMT"), Some(30));
        assert_eq!(of("Sun, 22 Nov 2026 11:00:00 GMT"), Some(0));
        assert_eq!(of("99999999"), Some(3_600));
        assert_eq!(of("soon"), None);
    }

    #[test]
    fn what_a_target_says_is_one_short_line() {
        let said = answer(404, &format!("no_service\n\u{1b}[31m{}", "x".repeat(500))).why();
        assert!(said.starts_with("status 404: no_service[31mxxx"));
        assert!(said.len() < 220);
    }
}
