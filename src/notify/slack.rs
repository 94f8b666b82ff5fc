//! Slack: an incoming webhook. One message a transition, or one that lists many.

use jiff::Timestamp;
use reqwest::{Client, Url};
use serde_json::{Value, json};

use super::message;
use super::outcome::{self, Answer, Outcome};
use crate::config::Secret;
use crate::model::alarm::{State, Transition};

/// Slack takes this many characters in a header, in a section, and in a field.
const MAX_HEADER: usize = 150;
const MAX_SECTION: usize = 3_000;
const MAX_FIELD: usize = 2_000;

/// Characters of the description in a message about one alarm: the reason is what matters.
const MAX_DESCRIPTION: usize = 1_500;

/// Characters of a list of alarms. Slack refuses messages from some 13,200 on.
const MAX_LIST: usize = 9_000;

/// Answers about the content (Slack: incoming webhooks, errors).
const UNFIT: [&str; 4] = [
    "invalid_payload",
    "invalid_blocks",
    "invalid_blocks_format",
    "msg_blocks_too_long",
];

/// Answers that no later attempt changes: the channel, the webhook or the workspace is no more or
/// takes nothing. The same status with another text is someone in between, such as a proxy.
const FINAL: [&str; 13] = [
    "action_prohibited",
    "channel_is_archived",
    "channel_not_found",
    "invalid_token",
    "no_active_hooks",
    "no_service",
    "no_service_id",
    "no_team",
    "no_text",
    "posting_to_general_channel_denied",
    "team_disabled",
    "too_many_attachments",
    "user_not_found",
];

/// A channel's webhook.
#[derive(Debug)]
pub(super) struct Slack {
    pub(super) client: Client,
    pub(super) url: Secret<Url>,
}

impl Slack {
    pub(super) async fn send(&self, transitions: &[&Transition], now: Timestamp) -> Outcome {
        let body = body(transitions);
        let request = self.client.post(self.url.expose().clone()).json(&body);
        match outcome::send(request, now).await {
            Ok(answer) => outcome_of(answer),
            Err(again) => Outcome::Again(again),
        }
    }
}

/// What an answer means: Slack says in a word what is wrong.
fn outcome_of(answer: Answer) -> Outcome {
    let word = answer.text.as_str();
    match answer.status.as_u16() {
        200 if word == "ok" => Outcome::Taken,
        400..=499 if UNFIT.contains(&word) => Outcome::Unfit(answer.why()),
        400..=499 if FINAL.contains(&word) => Outcome::Refused(answer.why()),
        // Someone in between, such as a proxy's page to log in.
        200..=299 | 400 => {
            let why = format!("not Slack's answer: {}", answer.why());
            Outcome::Again(answer.again(why))
        }
        _ => answer.outcome(),
    }
}

/// The message.
pub(super) fn body(transitions: &[&Transition]) -> Value {
    match transitions {
        [one] => single(one),
        many => list(many),
    }
}

const fn sign(state: State) -> &'static str {
    match state {
        State::Alarm => "\u{1f6a8}",
        State::Ok => "\u{2705}",
        State::InsufficientData => "\u{2754}",
    }
}

fn single(transition: &Transition) -> Value {
    let alarm = &transition.alarm;
    let (from, to) = (transition.from.name(), transition.to.name());
    let title = if alarm.name == message::TEST_ALARM {
        format!("\u{1f514} TEST: {}", alarm.name)
    } else {
        format!("{} {to}: {}", sign(transition.to), alarm.name)
    };
    let field = |name: &str, text: &str| {
        let room = MAX_FIELD - name.len() - 3;
        json!({"type": "mrkdwn", "text": format!("*{name}*\n{}", escape(text, room))})
    };
    let since = json!({"type": "mrkdwn", "text": format!("*Since*\n{}", date(transition.at))});
    let mut blocks = vec![
        header(&title),
        json!({"type": "section", "fields": [
            field("State", &format!("{from} \u{2192} {to}")),
            field("Value", &message::value(transition)),
            field("Threshold", &message::condition(transition)),
            since,
            field("Severity", &alarm.severity),
        ]}),
        section(&escape(&transition.reason, MAX_SECTION)),
    ];
    if !alarm.description.is_empty() {
        blocks.push(section(&escape(&alarm.description, MAX_DESCRIPTION)));
    }
    if let Some(runbook) = &alarm.runbook {
        blocks.push(section(&link(runbook, "Runbook")));
    }
    // An empty section is not taken.
    blocks.retain(|block| block["text"]["text"] != "");
    json!({
        "text": escape(&format!("{title}: {}", transition.reason), MAX_SECTION),
        "blocks": blocks,
    })
}

fn list(transitions: &[&Transition]) -> Value {
    let title = format!(
        "{} {} changes of alarms: {}",
        sign(
            transitions
                .iter()
                .map(|one| one.to)
                .find(|to| *to == State::Alarm)
                .unwrap_or(State::Ok)
        ),
        transitions.len(),
        message::tally(transitions),
    );
    let mut sections = vec![String::new()];
    let mut length = 0;
    let mut left_out = 0;
    for transition in transitions {
        let line = line(transition);
        if length + line.len() > MAX_LIST {
            left_out += 1;
            continue;
        }
        length += line.len();
        let is_full = sections
            .last()
            .is_some_and(|text| text.len() + line.len() > MAX_SECTION);
        if is_full {
            sections.push(String::new());
        }
        if let Some(text) = sections.last_mut() {
            text.push_str(&line);
        }
    }
    let mut blocks = vec![header(&title)];
    blocks.extend(sections.iter().map(|text| section(text.trim_end())));
    if left_out > 0 {
        blocks.push(section(&format!("and {left_out} more")));
    }
    json!({"text": escape(&title, MAX_SECTION), "blocks": blocks})
}

/// One transition in a list.
fn line(transition: &Transition) -> String {
    let alarm = &transition.alarm;
    let name = escape(&alarm.name, MAX_HEADER);
    let name = match &alarm.runbook {
        Some(runbook) => format!("*{name}* ({})", link(runbook, "runbook")),
        None => format!("*{name}*"),
    };
    format!(
        "{} {} {name}: {}, {}, {}\n",
        sign(transition.to),
        transition.to.name(),
        escape(&message::value(transition), MAX_HEADER),
        escape(&alarm.severity, MAX_HEADER),
        date(transition.at),
    )
}

fn header(text: &str) -> Value {
    json!({"type": "header", "text": {
        "type": "plain_text", "text": escape(text, MAX_HEADER), "emoji": true,
    }})
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
}

/// A time that each reader sees in their own zone.
fn date(at: Timestamp) -> String {
    let (second, fallback) = (at.as_second(), message::time(at));
    format!("<!date^{second}^{{date_num}} {{time_secs}}|{fallback}>")
}

/// A link, or the text where it is no address for a browser.
fn link(url: &str, label: &str) -> String {
    let is_address = url
        .parse::<Url>()
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    let breaks = |c: char| c.is_whitespace() || matches!(c, '|' | '<' | '>');
    let room = MAX_SECTION - 50;
    if is_address && !url.contains(breaks) && url.len() <= room / 5 {
        format!("<{}|{label}>", escape(url, room))
    } else {
        format!("{label}: {}", escape(url, room / 5))
    }
}

/// Escapes what Slack would read as its own and cuts the result to a number of characters, never
/// within an escape. Names of users and models could name everyone in the channel otherwise.
fn escape(text: &str, most: usize) -> String {
    let one = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        c => c.to_string(),
    };
    let whole: usize = text.chars().map(|c| one(c).chars().count()).sum();
    let (room, end) = if whole <= most {
        (most, "")
    } else {
        (most.saturating_sub(3), "...")
    };
    let mut escaped = String::new();
    let mut length = 0;
    for c in text.chars() {
        let one = one(c);
        length += one.chars().count();
        if length > room {
            break;
        }
        escaped.push_str(&one);
    }
    escaped + end
}
