//! Sends what was played through the front door, like collectors and gateways do.

use std::time::Duration;

use anyhow::{Context as _, bail};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use prost::Message as _;
use reqwest::RequestBuilder;
use serde_json::Value;

use super::calls::Call;
use super::reachable;
use crate::config::Secret;
use crate::serve::Addresses;

/// Tries of a delivery before the demo gives up.
const TRIES: u32 = 20;

/// Pause before a delivery that was turned away is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// The usage API takes at most 10,000 records at once.
const RECORDS_AT_ONCE: usize = 2_000;

/// One load of the three kinds of reports.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) events: Vec<ResourceLogs>,
    pub(super) metrics: Vec<ResourceMetrics>,
    pub(super) records: Vec<Value>,
    /// Calls for which the gateway asks first.
    pub(super) calls: Vec<Call>,
    /// Send the events twice, as after an answer that got lost.
    pub(super) again: bool,
}

/// Delivers over HTTP.
#[derive(Clone, Debug)]
pub(super) struct Senders {
    client: reqwest::Client,
    token: Option<Secret<String>>,
    otlp: String,
    api: String,
}

impl Senders {
    pub(super) fn new(addresses: Addresses, token: Option<Secret<String>>) -> anyhow::Result<Self> {
        let api = reachable(addresses.http.context("the HTTP listener is off")?);
        let otlp = addresses.otlp_http.map_or(api, reachable);
        let client = reqwest::Client::builder().no_proxy().build();
        Ok(Self {
            client: client.context("cannot set up the HTTP client")?,
            token,
            otlp: format!("http://{otlp}"),
            api: format!("http://{api}"),
        })
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// Sends a load and waits until all of it is durable.
    pub(super) async fn send(&self, load: Load) -> anyhow::Result<()> {
        let events = self.events(load.events, load.again);
        let metrics = self.metrics(load.metrics);
        let records = self.records(&load.records);
        let calls = self.calls(&load.calls);
        tokio::try_join!(events, metrics, records, calls)?;
        Ok(())
    }

    /// Makes the calls for which there is room.
    async fn calls(&self, calls: &[Call]) -> anyhow::Result<()> {
        let reservations = format!("{}/api/v1/quota/reservations", self.api);
        for call in calls {
            let request = self.authorized(self.client.post(&reservations));
            let answer = request.json(&call.reservation).send().await?;
            match answer.status().as_u16() {
                200 | 201 => {
                    let url = format!("{reservations}/{}/settle", call.id);
                    let body = serde_json::to_vec(&call.settlement)?;
                    self.post(&url, "application/json", &body).await?;
                }
                // Denied: the call is not made.
                403 | 422 | 429 => {}
                status => bail!("{reservations} answered {status}: {}", answer.text().await?),
            }
        }
        Ok(())
    }

    async fn events(&self, resource_logs: Vec<ResourceLogs>, again: bool) -> anyhow::Result<()> {
        if resource_logs.is_empty() {
            return Ok(());
        }
        let body = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
        let times = if again { 2 } else { 1 };
        for _ in 0..times {
            let answer = self.export("/v1/logs", &body).await?;
            let answer = ExportLogsServiceResponse::decode(&answer[..])?;
            if let Some(partial) = answer.partial_success {
                bail!("events were refused: {}", partial.error_message);
            }
        }
        Ok(())
    }

    async fn metrics(&self, resource_metrics: Vec<ResourceMetrics>) -> anyhow::Result<()> {
        if resource_metrics.is_empty() {
            return Ok(());
        }
        let body = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
        let answer = self.export("/v1/metrics", &body).await?;
        let answer = ExportMetricsServiceResponse::decode(&answer[..])?;
        if let Some(partial) = answer.partial_success {
            bail!("metrics were refused: {}", partial.error_message);
        }
        Ok(())
    }

    async fn export(&self, path: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}{path}", self.otlp);
        self.post(&url, "application/x-protobuf", body).await
    }

    async fn records(&self, records: &[Value]) -> anyhow::Result<()> {
        for some in records.chunks(RECORDS_AT_ONCE) {
            let url = format!("{}/api/v1/usage/events", self.api);
            let body = serde_json::to_vec(some)?;
            let answer = self.post(&url, "application/json", &body).await?;
            let answer: Value = serde_json::from_slice(&answer)?;
            if let Some(first) = answer["rejected"].get(0) {
                bail!("records were refused: {first}");
            }
        }
        Ok(())
    }

    async fn post(&self, url: &str, content_type: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        for _ in 0..TRIES {
            let request = self.client.post(url).header("content-type", content_type);
            let request = self.authorized(request);
            let answer = request.body(body.to_vec()).send().await?;
            let status = answer.status();
            let bytes = answer.bytes().await?;
            match status.as_u16() {
                200 => return Ok(bytes.into()),
                429 | 503 => tokio::time::sleep(PAUSE).await,
                _ => bail!(
                    "{url} answered {status}: {}",
                    String::from_utf8_lossy(&bytes)
                ),
            }
        }
        bail!("{url} turned a delivery away {TRIES} times")
    }

    /// The answer to a question about usage.
    pub(super) async fn ask(&self, query: &str) -> anyhow::Result<Value> {
        let url = format!("{}/api/v1/usage?{query}", self.api);
        let answer = self.authorized(self.client.get(url)).send().await?;
        let answer = answer.error_for_status()?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }
}
