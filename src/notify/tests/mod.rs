//! Notifications: the texts, the rounds, and the peers.

mod peers;
mod plans;
mod rounds;
mod slack_checks;
mod texts;

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::*;
use crate::clock::Clock;
use crate::config::Environment;
use crate::store::{AlarmStatus, Settings, Terms, WriterThread};

/// Seconds after a Sunday noon.
fn at(seconds: i64) -> Timestamp {
    let noon: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    Timestamp::from_second(noon.as_second() + seconds).unwrap()
}

fn alarm(name: &str) -> Alarm {
    Alarm {
        name: name.to_owned(),
        description: "Requests fail.".to_owned(),
        metric: "error_rate".to_owned(),
        namespace: "ClaudeCode/Enterprise".to_owned(),
        dimensions: BTreeMap::new(),
        statistic: Statistic::Average,
        period_seconds: 300,
        evaluation_periods: 2,
        datapoints_to_alarm: 2,
        threshold: 5.0,
        comparison: Comparison::GreaterThan,
        missing_data: MissingData::NotBreaching,
        evaluates_low_samples: true,
        actions: Actions {
            enabled: true,
            alarm: vec!["arn:aws:sns:eu-central-1:111122223333:alarms".to_owned()],
            ..Actions::default()
        },
        severity: "critical".to_owned(),
        runbook: Some("https://runbooks.example.com/errors?a=1&b=2".to_owned()),
    }
}

fn transition(name: &str, to: State, seconds: i64) -> Transition {
    Transition {
        alarm: alarm(name),
        from: if to == State::Alarm {
            State::Ok
        } else {
            State::Alarm
        },
        to,
        at: at(seconds),
        reason: "Threshold Crossed: 2 out of the last 2 datapoints were greater than the \
                 threshold (5.0)."
            .to_owned(),
        value: Some(7.25),
    }
}

/// What a stand-in does with a request.
#[derive(Clone, Debug)]
enum Reply {
    Status(u16, &'static str),
    RetryAfter(u16, &'static str),
    /// Takes the request and closes the connection without an answer.
    Drop,
}

/// A request that a stand-in got.
#[derive(Clone, Debug)]
struct Got {
    headers: HashMap<String, String>,
    body: Value,
    text: String,
}

/// Decides what to reply, by the number of the request and what it is.
type Decide = Box<dyn FnMut(usize, &Got) -> Reply + Send>;

/// An HTTP server that replies as told and keeps what it got.
#[derive(Clone)]
struct StandIn {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
}

impl StandIn {
    async fn start(decide: impl FnMut(usize, &Got) -> Reply + Send + 'static) -> Self {
        let decide: Arc<Mutex<Decide>> = Arc::new(Mutex::new(Box::new(decide)));
        let got = Arc::new(Mutex::new(Vec::new()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let keep = Arc::clone(&got);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (decide, keep) = (Arc::clone(&decide), Arc::clone(&keep));
                let service = service_fn(move |request: Request<Incoming>| {
                    reply(request, Arc::clone(&decide), Arc::clone(&keep))
                });
                let server = http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, got }
    }

    /// Replies from a list, then takes all.
    async fn scripted(replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut replies: VecDeque<Reply> = replies.into_iter().collect();
        Self::start(move |_, _| replies.pop_front().unwrap_or(Reply::Status(200, "ok"))).await
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Of each request, the alarms in it with their states.
    fn told(&self) -> Vec<Vec<String>> {
        let transitions = |got: Got| {
            let list = got.body["transitions"].as_array().cloned();
            let list = list.unwrap_or_default().into_iter();
            list.map(|one| {
                let text = |key: &str| one[key].as_str().unwrap().to_owned();
                format!("{} {}", text("alarm"), text("to"))
            })
            .collect()
        };
        self.got().into_iter().map(transitions).collect()
    }
}

async fn reply(
    request: Request<Incoming>,
    decide: Arc<Mutex<Decide>>,
    keep: Arc<Mutex<Vec<Got>>>,
) -> Result<Response<String>, std::io::Error> {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        bytes.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    let headers = head.headers.iter();
    let got = Got {
        headers: headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect(),
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
        text: String::from_utf8(bytes).unwrap(),
    };
    let number = keep.lock().unwrap().len();
    let reply = decide.lock().unwrap()(number, &got);
    keep.lock().unwrap().push(got);
    let (status, text, retry_after) = match reply {
        Reply::Status(status, text) => (status, text, ""),
        Reply::RetryAfter(status, seconds) => (status, "rate_limited", seconds),
        Reply::Drop => return Err(std::io::ErrorKind::ConnectionReset.into()),
    };
    let mut response = Response::new(text.to_owned());
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
    if !retry_after.is_empty() {
        let value = retry_after.parse().unwrap();
        response.headers_mut().insert("retry-after", value);
    }
    Ok(response)
}

/// The key that webhooks are signed with here.
const SECRET: &str = "0123456789abcdef-s3cret";

/// A webhook target; `more` are further lines of its table.
fn webhook(name: &str, stand_in: &StandIn, more: &str) -> (String, Vec<(String, String)>) {
    let text = format!("[notify.{name}]\nkind = \"webhook\"\ngroup_wait = \"0s\"\n{more}\n");
    let variable = |key: &str| format!("TALLYD_NOTIFY_{}_{key}", name.to_uppercase());
    let variables = vec![
        (variable("URL"), stand_in.url.clone()),
        (variable("SECRET"), SECRET.to_owned()),
    ];
    (text, variables)
}

/// The same for Slack.
fn slack(name: &str, stand_in: &StandIn, more: &str) -> (String, Vec<(String, String)>) {
    let (text, mut variables) = webhook(name, stand_in, more);
    variables.truncate(1);
    (text.replace("webhook", "slack"), variables)
}

/// A daemon's notifications over a ledger, without its jobs.
struct World {
    notify: Notify,
    ledger: Ledger,
    thread: WriterThread,
}

impl World {
    async fn open(folder: &Path, targets: &[(String, Vec<(String, String)>)]) -> Self {
        let text: String = targets.iter().map(|(text, _)| text.as_str()).collect();
        let variables = targets.iter().flat_map(|(_, variables)| variables.clone());
        let config = Config::parse(&text, &Environment::of(variables)).unwrap();
        let settings = Settings {
            folder: folder.to_owned(),
            retain_raw: Duration::from_hours(90 * 24),
            zone: TimeZone::UTC,
        };
        let terms = Arc::new(ArcSwap::from_pointee(Terms::default()));
        let opened = Ledger::open(&settings, terms, Clock::manual(at(0))).unwrap();
        let (ledger, thread) = opened.start(Box::new(|_, _| ())).unwrap();
        // No proxy that this machine may have; the rest is as `client` has it.
        let client = Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10));
        let aws = Aws::new(&config.aws).unwrap();
        let setup = Setup {
            ledger: ledger.clone(),
            client: client.build().unwrap(),
            aws,
            config: Arc::new(ArcSwap::from_pointee(config)),
            instance: "host-1".to_owned(),
            started: at(0),
        };
        let notify = Notify::new(&setup);
        notify.start().await.unwrap();
        Self {
            notify,
            ledger,
            thread,
        }
    }

    /// Writes transitions down as an evaluation does.
    async fn settle(&self, transitions: &[Transition]) {
        let states = transitions.iter().map(|one| AlarmStatus {
            name: one.alarm.name.clone(),
            state: one.to,
            since: one.at,
            updated: one.at,
            reason: one.reason.clone(),
            value: one.value,
        });
        let now = transitions.last().unwrap().at;
        let notices = self.notify.notices(transitions, now);
        self.ledger
            .settle_alarms(states.collect(), Vec::new(), Vec::new(), notices)
            .await
            .unwrap();
    }

    async fn fire(&self, names: &[&str], seconds: i64) {
        let fired = names.iter();
        let fired: Vec<_> = fired
            .map(|name| transition(name, State::Alarm, seconds))
            .collect();
        self.settle(&fired).await;
    }

    async fn recover(&self, names: &[&str], seconds: i64) {
        let over = names.iter();
        let over: Vec<_> = over
            .map(|name| transition(name, State::Ok, seconds))
            .collect();
        self.settle(&over).await;
    }

    async fn round(&self, seconds: i64) {
        self.notify.round(at(seconds)).await.unwrap();
    }

    fn counts(&self, name: &str) -> Counts {
        let counts = self.notify.counts().into_iter();
        counts
            .into_iter()
            .find(|(target, _)| *target == name)
            .unwrap()
            .1
    }

    fn results(&self, name: &str) -> Vec<(&'static str, u64)> {
        self.counts(name).results.into_iter().collect()
    }

    fn close(self) {
        self.ledger.close();
        self.thread.join();
    }
}
