//! `GET /api/v1/reports/{name}`: reports for finance, streamed.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::Api;
use super::auth;
use super::error::Problem;
use super::range::Parameters;
use crate::model::access::Scope;
use crate::model::bill::Basis;
use crate::model::money::PICO_DIGITS;
use crate::report::write::{self, Form, ManifestPlace};
use crate::report::{Name, Report, ReportError, Request, period};

const PARAMETERS: [&str; 10] = [
    "from", "to", "month", "timezone", "group_by", "basis", "decimals", "currency", "format",
    "manifest",
];

/// Decimal places of money where none are asked for.
const DECIMALS: u32 = 2;

/// Bytes written to the connection at once.
const CHUNK: usize = 64 * 1024;

/// Chunks that wait for a slow reader; the report is made no faster than it is read.
const CHUNKS_AHEAD: usize = 4;

/// Make a report
///
/// Money is rounded so that the lines of a report add up to its total; all groupings of a period
/// have the same total. The manifest says what the report was made of. Without a period it is of
/// the current month.
#[utoipa::path(
    get, path = "/api/v1/reports/{name}", tag = "reports",
    operation_id = "getReport",
    security((), ("bearer" = ["finance"])),
    params(
        ("name" = String, Path, example = "chargeback", description = "The report."),
        ("month" = Option<String>, Query, example = "last",
            description = "`2026-11`, `this` or `last`, by the calendar of the zone."),
        ("from" = Option<String>, Query, example = "2026-11-01",
            description = "In place of a month: a time (RFC 3339), or a date in the zone."),
        ("to" = Option<String>, Query, example = "2026-12-01", description = "Exclusive."),
        ("timezone" = Option<String>, Query, example = "Asia/Tokyo",
            description = "IANA zone of dates, days and months; default: the configured one."),
        ("group_by" = Option<String>, Query, example = "team,model",
            description = "Comma list of what lines are told apart by; default: the report's."),
        ("basis" = Option<String>, Query, example = "unblended",
            description = "Which amount of the bill counts: unblended (default), net, blended."),
        ("decimals" = Option<u32>, Query, minimum = 2, maximum = 12,
            description = "Decimal places of money; default: 2. With 12 every amount is exact."),
        ("currency" = Option<String>, Query, example = "USD",
            description = "ISO 4217 code in which money is shown; default: USD."),
        ("format" = Option<String>, Query, example = "csv",
            description = "table, csv, json (default), xlsx, html, or \
                focus (of chargeback and cost_detail)."),
        ("manifest" = Option<String>, Query, example = "leading",
            description = "In CSV: leading lines that begin with `#` (default), or separate; \
                only: the manifest alone, as JSON."),
    ),
    responses(
        (status = 200, description = "The report.", content(
            (serde_json::Value = "application/json"), (String = "text/csv"),
            (String = "text/plain"),
        )),
        (status = 400, response = super::openapi::Invalid),
        (status = 401, response = super::openapi::Unauthorized),
        (status = 403, response = super::openapi::Forbidden),
        (status = 404, description = "There is no such report (`unknown_report`).",
            body = super::error::ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The report needs a setting that is missing \
            (`not_configured`).",
            body = super::error::ProblemBody, content_type = "application/problem+json"),
        (status = 422, response = super::openapi::QueryTooLarge),
        (status = 503, response = super::openapi::Unavailable),
    ),
)]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    auth::grant(&api, &headers, Scope::Finance)?;
    let Some(name) = Name::parse(&name) else {
        let names = Name::ALL.map(Name::name).join(", ");
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_report",
            format!("the reports are {names}"),
        ));
    };
    let parameters = Parameters::of(&uri, &PARAMETERS)?;
    let now = api.clock.now();
    let request = request_of(&parameters, &api.zone, now)?;
    let form = choice(
        &parameters,
        "format",
        Form::parse,
        &Form::ALL.map(Form::name),
    )?;
    let places = ManifestPlace::ALL.map(ManifestPlace::name);
    let manifest = choice(&parameters, "manifest", ManifestPlace::parse, &places)?;
    let form = form.unwrap_or(Form::Json);
    let (name, request) = form.instead(name, &request)?.unwrap_or((name, request));
    let report = api.reports.run(name, &request, now).await?;
    answer(report, form, manifest.unwrap_or_default()).await
}

/// What the parameters ask of any report.
fn request_of(
    parameters: &Parameters,
    configured: &TimeZone,
    now: Timestamp,
) -> Result<Request, Problem> {
    let zone = parameters.zone(configured)?;
    let range = range_of(parameters, &zone, now)?;
    let names = parameters.get("group_by").unwrap_or_default().split(',');
    let group_by = names
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(Arc::from)
        .collect();
    let decimals = match parameters.get("decimals") {
        None => DECIMALS,
        Some(text) => text
            .parse()
            .ok()
            .filter(|decimals| (2..=PICO_DIGITS).contains(decimals))
            .ok_or_else(|| {
                let wrong = format!("decimals: must be a number from 2 to {PICO_DIGITS}");
                Problem::parameter(wrong)
            })?,
    };
    let currency = parameters.get("currency").unwrap_or("USD");
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(Problem::parameter(
            "currency: must be an ISO 4217 code such as EUR",
        ));
    }
    let basis = choice(
        parameters,
        "basis",
        Basis::parse,
        &Basis::ALL.map(Basis::name),
    )?;
    Ok(Request {
        from: range.start,
        to: range.end,
        zone,
        group_by,
        basis: basis.unwrap_or_default(),
        decimals,
        currency: currency.into(),
    })
}

fn range_of(
    parameters: &Parameters,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<Range<Timestamp>, Problem> {
    let has_range = parameters.get("from").is_some() || parameters.get("to").is_some();
    match parameters.get("month") {
        Some(_) if has_range => Err(Problem::parameter(
            "month: may not be given together with from and to",
        )),
        Some(month) => Ok(period::month(month, now, zone)?),
        None if has_range => parameters.range(now, zone),
        None => Ok(period::month("this", now, zone)?),
    }
}

fn choice<T>(
    parameters: &Parameters,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
    names: &[&str],
) -> Result<Option<T>, Problem> {
    let Some(text) = parameters.get(name) else {
        return Ok(None);
    };
    let value = parse(text);
    if value.is_none() {
        let names = names.join(", ");
        return Err(Problem::parameter(format!(
            "{name}: must be one of {names}"
        )));
    }
    Ok(value)
}

/// Writes a report beside the connection, so that neither memory nor other requests feel its size.
async fn answer(report: Report, form: Form, manifest: ManifestPlace) -> Result<Response, Problem> {
    form.check(&report)?;
    let shown = tokio::task::spawn_blocking(move || (write::show(&report), report)).await;
    let (Some(shown), report) = shown.map_err(|error| {
        tracing::error!(%error, "rounding a report failed");
        Problem::internal()
    })?
    else {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "too_large",
            "a total is beyond the range of money",
        ));
    };
    let request = &report.manifest.request;
    let period = write::period_label(&request.zone, request.from, request.to);
    let name = format!("{}-{period}.{}", report.name, form.extension());
    let (name, kind) = match manifest {
        ManifestPlace::Only => (format!("{name}.manifest.json"), Form::Json.content_type()),
        ManifestPlace::Leading | ManifestPlace::Separate => (name, form.content_type()),
    };
    let file = format!("attachment; filename=\"{name}\"");
    let (chunks, waiting) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut out = Chunks {
            buffer: Vec::with_capacity(CHUNK),
            chunks,
        };
        let written = write::write(&report, &shown, form, manifest, &mut out);
        if let Err(error) = written.and_then(|()| out.flush()) {
            tracing::warn!(%error, "a report was not written to its end");
            // The connection is cut: half a report must not look like a whole one. A reader that
            // has gone away needs no answer.
            let _ = out.chunks.blocking_send(Err(error));
        }
    });
    let body = stream::unfold(waiting, |mut waiting| async {
        let chunk: io::Result<Bytes> = waiting.recv().await?;
        Some((chunk, waiting))
    });
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(file) = HeaderValue::from_str(&file) {
        headers.insert(CONTENT_DISPOSITION, file);
    }
    Ok(response)
}

/// Hands on what is written in pieces, and waits while the reader is behind.
struct Chunks {
    buffer: Vec<u8>,
    chunks: mpsc::Sender<io::Result<Bytes>>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.chunks
            .blocking_send(Ok(chunk.into()))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Parameter(detail) => Self::parameter(detail),
            ReportError::NotConfigured(detail) => {
                Self::new(StatusCode::CONFLICT, "not_configured", detail)
            }
            ReportError::Query(error) => error.into(),
        }
    }
}
