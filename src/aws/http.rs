//! The HTTP client under all SDK clients.
//!
//! It is made by hand because the SDK reads `AWS_CA_BUNDLE` nowhere. A connector made by hand has
//! no proxy unless it is given one.

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector, HttpClientError};
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpClient};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use crate::config::Authorities;

/// Makes the client: TLS by rustls with the system's authorities (`SSL_CERT_FILE` replaces them)
/// and those given, through the proxy that the environment names.
pub(super) fn client(
    authorities: Option<&Authorities>,
) -> Result<SharedHttpClient, HttpClientError> {
    let mut trust = TrustStore::default();
    if let Some(authorities) = authorities {
        trust.add_pem_certificate(authorities.pem.clone());
    }
    let tls = TlsContext::builder().with_trust_store(trust).build()?;
    let connector = move |settings: Option<&HttpConnectorSettings>,
                          components: Option<&RuntimeComponents>| {
        let mut builder = Connector::builder().proxy_config(ProxyConfig::from_env());
        builder.set_connector_settings(settings.cloned());
        // Without it the time-out of connecting would not run.
        builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        builder
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls.clone())
            .build()
    };
    Ok(Builder::new().build_with_connector_fn(connector))
}
