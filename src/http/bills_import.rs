//! `POST /api/v1/bills`: an exported bill, read while it arrives.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderMap, StatusCode, Uri};
use flate2::bufread::MultiGzDecoder;
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::sync::mpsc;
use tracing::warn;
use utoipa::ToSchema;

use super::Api;
use super::auth;
use super::body;
use super::error::{Problem, ProblemBody};
use super::range::Parameters;
use crate::model::access::Scope;
use crate::model::bill::import::{self, Format, ImportError, Imported, Terms};
use crate::model::bill::{BillDay, Charge};
use crate::model::catalogue;
use crate::model::money::PicoUsd;
use crate::store::Replaced;

/// Bytes of a file, unpacked. JSON is held whole, so it may have less.
const MAX_CSV_BYTES: u64 = 4 << 30;
const MAX_JSON_BYTES: u64 = 256 << 20;

/// Time between two parts of the body.
const PATIENCE: Duration = Duration::from_secs(10);

/// Parts of the body that wait for the reader; the sender waits meanwhile.
const PARTS_AHEAD: usize = 8;

/// Days that are named one by one.
const MAX_NAMED: usize = 100;

/// What became of a file.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ImportAnswer {
    /// Rows that were read.
    rows: u64,
    /// Rows that are not for Claude.
    left_out: u64,
    /// Amounts with more than twelve decimal places, rounded half-even.
    rounded: u64,
    /// Billed days of accounts.
    days: usize,
    /// Those that are new or differ from what was known; the others are as they were.
    changed: usize,
    /// The first and the last day; left out if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    /// Exact unblended totals by currency.
    totals: BTreeMap<String, String>,
    /// The part of lines that are not understood.
    unclassified: BTreeMap<String, String>,
    /// Days that changed although they had been final, at most a hundred.
    changed_after_final: Vec<String>,
}

/// Import a bill
///
/// Takes a file as the provider exports it: `aws` (Data Exports, CUR 2.0 as CSV), `vertex` (billing
/// export as CSV), `anthropic` (cost report as JSON), `csv` (tallyd's own). It may be packed with
/// gzip. Each day of the file is put in place of what was known of it, all of the file or nothing;
/// the same file again changes nothing.
#[utoipa::path(
    post, path = "/api/v1/bills", tag = "reports",
    operation_id = "importBill",
    security((), ("bearer" = ["finance"])),
    params(("provider" = String, Query, example = "aws",
        description = "Whose export it is: aws, vertex, anthropic or csv.")),
    request_body(content((String = "text/csv"), (String = "application/json"),
        (String = "application/octet-stream"))),
    responses(
        (status = 200, description = "The bill is on disk.", body = ImportAnswer),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 409, description = "Another bill is being imported (`import_running`).",
            body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, response = super::openapi::UnsupportedType),
        (status = 422, description = "The file is wrong; line and column are told \
            (`invalid_bill`).",
            body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Json<ImportAnswer>, Problem> {
    auth::grant(&api, &headers, Scope::Finance)?;
    let parameters = Parameters::of(&uri, &["provider"])?;
    let format = parameters.get("provider").and_then(Format::parse);
    let format = format.ok_or_else(|| {
        let names = Format::ALL.map(Format::name).join(", ");
        Problem::parameter(format!("provider: must be one of {names}"))
    })?;
    let types = [
        "text/csv",
        "application/json",
        "application/octet-stream",
        "application/gzip",
    ];
    body::media_type(&headers, &types)?;
    // What gzip packed is known by its first bytes, whatever the header says.
    let encoding = headers
        .get(CONTENT_ENCODING)
        .map(|value| value.to_str().unwrap_or("?").trim());
    if !matches!(encoding, None | Some("" | "identity" | "gzip" | "x-gzip")) {
        let message = "Content-Encoding: must be gzip or identity";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "unsupported_encoding", message));
    }
    let Ok(_turn) = api.importing.try_lock() else {
        let message = "another bill is being imported: try again when it is done";
        return Err(Problem::new(StatusCode::CONFLICT, "import_running", message).retry_after(10));
    };
    let imported = read(&api, format, body).await?;
    let rounded = u128::from(imported.rounded);
    let mut answer = answer(&imported);
    let source = imported.days.first().map(|day| day.source.clone());
    let days: Vec<String> = imported
        .days
        .iter()
        .map(|day| day.day.to_string())
        .collect();
    let replaced = api.ledger.replace_bill_days(imported.days).await?;
    if let Some(source) = source {
        api.registry
            .add(catalogue::BILL_ROUNDED, &[&source], rounded);
        count(&api, &source, &days, &replaced, &mut answer);
    }
    Ok(Json(answer))
}

/// Counts what changed, and names what had been final.
fn count(
    api: &Api,
    source: &str,
    days: &[String],
    replaced: &[Option<Replaced>],
    answer: &mut ImportAnswer,
) {
    for (day, replaced) in days.iter().zip(replaced) {
        let Some(replaced) = replaced else { continue };
        answer.changed += 1;
        if replaced.revision == 1 {
            continue;
        }
        let standing = if replaced.after_final {
            "final"
        } else {
            "provisional"
        };
        api.registry
            .add(catalogue::BILL_REVISIONS, &[source, standing], 1);
        if replaced.after_final {
            let revision = replaced.revision;
            warn!(
                source,
                day, revision, "a billed day changed after it was final"
            );
            if answer.changed_after_final.len() < MAX_NAMED {
                answer.changed_after_final.push(day.clone());
            }
        }
    }
}

/// Reads the file on a thread of its own while the body arrives.
async fn read(api: &Arc<Api>, format: Format, body: Body) -> Result<Imported, Problem> {
    let (parts, waiting) = mpsc::channel(PARTS_AHEAD);
    let names = api.names.load_full();
    let terms = api.reports.terms.load_full();
    let now = api.clock.now();
    let reading = tokio::task::spawn_blocking(move || {
        let most = match format {
            Format::Anthropic => MAX_JSON_BYTES,
            Format::Aws | Format::Vertex | Format::Csv => MAX_CSV_BYTES,
        };
        let terms = Terms {
            names: &names,
            prices: &terms.prices,
            now,
        };
        unpacked(waiting, most).and_then(|file| import::read(format, file, &terms))
    });
    let mut body = body.into_data_stream();
    loop {
        let part = match tokio::time::timeout(PATIENCE, body.next()).await {
            Ok(None) => Ok(Bytes::new()),
            Ok(Some(Ok(part))) if part.is_empty() => continue,
            Ok(Some(Ok(part))) => Ok(part),
            Ok(Some(Err(_))) => Err(io::Error::other("the body broke off")),
            Err(_) => Err(io::Error::other("the body did not go on arriving in time")),
        };
        let is_last = part.as_ref().map_or(true, Bytes::is_empty);
        // An error means that the reader has seen enough.
        if parts.send(part).await.is_err() || is_last {
            break;
        }
    }
    drop(parts);
    let imported = reading.await.map_err(|error| {
        tracing::error!(%error, "reading a bill failed");
        Problem::internal()
    })?;
    imported.map_err(|error: ImportError| {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Problem::new(status, "invalid_bill", error.to_string())
    })
}

/// The file, unpacked if it is packed, up to a number of bytes.
fn unpacked(
    waiting: mpsc::Receiver<io::Result<Bytes>>,
    most: u64,
) -> Result<impl Read, ImportError> {
    let mut file = BufReader::new(Parts {
        waiting,
        current: Bytes::new(),
        is_over: false,
    });
    let start = file.fill_buf().map_err(|error| ImportError {
        message: format!("the file cannot be read: {error}"),
        ..ImportError::default()
    })?;
    let file: Box<dyn Read> = if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    Ok(Bounded { file, left: most })
}

/// The parts of a body, as they come. An empty part is the end; a sender that went away is not.
struct Parts {
    waiting: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    is_over: bool,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() && !self.is_over {
            let next = self.waiting.blocking_recv();
            self.current = next.ok_or_else(|| io::Error::other("the request was given up"))??;
            self.is_over = self.current.is_empty();
        }
        let length = self.current.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

/// A file that may not go on for ever, as packed ones can.
struct Bounded<R> {
    file: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        let left = self.left.checked_sub(length as u64);
        self.left = left.ok_or_else(|| {
            io::Error::other("it is too large unpacked; import fewer days at once")
        })?;
        Ok(length)
    }
}

fn answer(imported: &Imported) -> ImportAnswer {
    let dates = || imported.days.iter().map(|day| day.day);
    let sum = |wanted: fn(Charge) -> bool| {
        let mut sums: BTreeMap<String, PicoUsd> = BTreeMap::new();
        let lines = imported.days.iter().flat_map(|day: &BillDay| &day.lines);
        for line in lines.filter(|line| wanted(line.charge)) {
            let sum = sums.entry(line.currency.to_string()).or_default();
            let cost = line.amounts.unblended.unwrap_or_default();
            *sum = sum.checked_add(cost).unwrap_or(*sum);
        }
        let shown = sums
            .into_iter()
            .map(|(currency, sum)| (currency, sum.to_string()));
        shown.collect()
    };
    ImportAnswer {
        rows: imported.rows,
        left_out: imported.left_out,
        rounded: imported.rounded,
        days: imported.days.len(),
        changed: 0,
        first: dates().min().map(|day| day.to_string()),
        last: dates().max().map(|day| day.to_string()),
        totals: sum(|_| true),
        unclassified: sum(|charge| charge == Charge::Unclassified),
        changed_after_final: Vec::new(),
    }
}
