//! How commands reach a running daemon: HTTP, a token, and errors of one line.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use reqwest::{RequestBuilder, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::Secret;

/// Time for a connection; a daemon that takes longer is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for an answer: a backup copies the whole ledger.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(10);

/// How commands reach a running daemon.
#[derive(Args, Clone, Debug)]
pub struct Remote {
    /// Base URL of the daemon.
    #[arg(long, env = "TALLYD_URL", default_value = "http://127.0.0.1:9477")]
    pub url: String,
    /// Bearer token; better given in the environment, where `ps` does not show it.
    #[arg(long, env = "TALLYD_TOKEN", hide_env_values = true, value_parser = secret)]
    pub token: Option<Secret<String>>,
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "clap's value parsers return a result"
)]
pub(super) fn secret(token: &str) -> Result<Secret<String>, String> {
    Ok(Secret::new(token.to_owned()))
}

/// An error as the API tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
}

/// The daemon answered with an error.
#[derive(Debug, thiserror::Error)]
#[error(
    "tallyd at {url} answered {status}{}{}{hint}",
    spaced(code),
    spaced(detail)
)]
pub(super) struct Refused {
    url: String,
    status: u16,
    pub(super) code: String,
    pub(super) detail: String,
    hint: &'static str,
}

impl Remote {
    /// Gets JSON. Empty parameters are left out.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> anyhow::Result<T> {
        let url = self.address_with(path, parameters)?;
        self.ask(client()?.get(url)).await
    }

    /// As [`Remote::get`], for callers that have no time: certificates, which take longer to read
    /// than an answer takes, are read only where they are needed.
    pub(super) async fn get_quickly<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> anyhow::Result<T> {
        let url = self.address_with(path, parameters)?;
        let client = reqwest::Client::builder();
        let client = match url.scheme() {
            "https" => client,
            _ => client.tls_certs_only([]),
        };
        let client = client.build().context("cannot set up the HTTP client")?;
        self.ask(client.get(url)).await
    }

    /// Gets whatever the daemon answers and writes it as it comes. Empty parameters are left out.
    pub(super) async fn download(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let url = self.address_with(path, parameters)?;
        let mut response = self.send(client()?.get(url)).await?;
        while let Some(chunk) = response.chunk().await.context("the answer broke off")? {
            out.write_all(&chunk).context("cannot write the answer")?;
        }
        out.flush().context("cannot write the answer")
    }

    fn address_with(&self, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Url> {
        let mut url = self.address(path)?;
        for (name, value) in parameters {
            if !value.is_empty() {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        Ok(url)
    }

    /// Posts JSON and gets JSON.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<T> {
        self.ask(client()?.post(self.address(path)?).json(body))
            .await
    }

    /// Posts a text and gets JSON. Empty parameters are left out.
    pub(super) async fn post_text<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        media_type: &str,
        text: String,
    ) -> anyhow::Result<T> {
        let url = self.address_with(path, parameters)?;
        let request = client()?.post(url).header("content-type", media_type);
        self.ask(request.body(text)).await
    }

    /// Posts bytes and gets JSON. Empty parameters are left out.
    pub(super) async fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
        media_type: &str,
        bytes: Vec<u8>,
    ) -> anyhow::Result<T> {
        let url = self.address_with(path, parameters)?;
        let request = client()?.post(url).header("content-type", media_type);
        self.ask(request.body(bytes)).await
    }

    /// Deletes and gets JSON.
    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(client()?.delete(self.address(path)?)).await
    }

    fn address(&self, path: &str) -> anyhow::Result<Url> {
        let base = self.url.trim_end_matches('/');
        let url = format!("{base}{path}");
        Url::parse(&url).with_context(|| format!("--url: cannot read {base:?} as a URL"))
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let response = self.send(request).await?;
        let body = response.bytes().await.context("the answer broke off")?;
        serde_json::from_slice(&body)
            .with_context(|| format!("{} does not answer like tallyd", self.url))
    }

    /// Sends a request; an answer that tells an error becomes one.
    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_timeout() && !error.is_connect() => {
                bail!("tallyd at {} does not answer in time", self.url)
            }
            Err(error) => bail!(
                "cannot reach tallyd at {} ({}); is it running? start it with `tallyd run`, or \
                 name its address with --url or TALLYD_URL",
                self.url,
                deepest(&error)
            ),
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.context("the answer broke off")?;
        let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        let hint = match status.as_u16() {
            401 => "; give a token with --token or TALLYD_TOKEN",
            403 => "; give another token with --token or TALLYD_TOKEN",
            _ => "",
        };
        Err(Refused {
            url: self.url.clone(),
            status: status.as_u16(),
            code: problem.code,
            detail: problem.detail,
            hint,
        }
        .into())
    }
}

fn client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        .build()
        .context("cannot set up the HTTP client")
}

fn spaced(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    format!(": {text}")
}

/// The reason at the bottom of the chain; what is above it repeats the URL.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut reason = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Ask {
        #[command(flatten)]
        remote: Remote,
    }

    #[test]
    fn a_token_on_the_command_line_is_not_shown() {
        let ask = Ask::parse_from(["ask", "--token", "s3cret"]);
        assert!(!format!("{ask:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn an_absent_daemon_is_told_in_one_line_with_the_way_out() {
        // Nobody listens on a port that was just given back.
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let url = format!("http://127.0.0.1:{port}");
        let remote = Remote {
            url: url.clone(),
            token: None,
        };
        let asked = remote.get::<serde_json::Value>("/api/v1/sources", &[]);
        let error = format!("{:#}", asked.await.unwrap_err());
        assert!(error.starts_with(&format!("cannot reach tallyd at {url} (")));
        assert!(error.contains("`tallyd run`") && !error.contains('\n'));
    }

    #[test]
    fn a_base_url_may_end_in_a_slash() {
        let remote = Remote {
            url: "https://tallyd.example.com/".to_owned(),
            token: None,
        };
        let url = remote.address("/api/v1/usage").unwrap();
        assert_eq!(url.as_str(), "https://tallyd.example.com/api/v1/usage");
    }
}
