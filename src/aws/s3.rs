//! S3 as an object store, with the credentials, addresses and authorities of all other clients.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use futures_util::future::BoxFuture;
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsCredential};
use object_store::{Certificate, ClientOptions, CredentialProvider, RetryConfig};
use tokio::sync::Mutex;

use super::{Aws, Failure, Kind, Trouble, failure};
use crate::clock::Stopwatch;
use crate::config::Account;

/// Time for one object: one that is as large as they come, over a slow line.
const OBJECT_TIMEOUT: Duration = Duration::from_mins(5);

/// Attempts after the first.
const RETRIES: usize = 2;

/// Credentials are asked for again after this long: a role's session lasts 15 minutes at least.
const CREDENTIALS_GOOD_FOR: Duration = Duration::from_mins(5);

impl Aws {
    /// A bucket, in another account through its role, in a region or in that of `[aws]`. An
    /// endpoint of one's own is asked with the bucket in the path.
    ///
    /// Errors: [`Trouble`] where AWS cannot be used.
    pub async fn bucket(
        &self,
        account: Option<&Account>,
        region: Option<&str>,
        bucket: &str,
    ) -> Result<AmazonS3, Trouble> {
        let own = self.config()?;
        let region = region.map(str::to_owned);
        let region = region.or_else(|| own.region().map(ToString::to_string));
        let region = region.ok_or_else(super::no_region)?;
        let config = self.config_in(account, &region).await?;
        let provider = config
            .credentials_provider()
            .ok_or_else(|| self.no_credentials("nothing provides them"))?;
        let settings = &self.0.settings;
        let mut client = ClientOptions::new()
            .with_timeout(OBJECT_TIMEOUT)
            .with_connect_timeout(settings.connect_timeout)
            .with_read_timeout(settings.timeout);
        let unfit = |error: object_store::Error| Trouble {
            what: format!(
                "the client for S3 cannot be made ({})",
                failure::chain(&error)
            ),
            mend: "check aws.ca_bundle and aws.endpoint_url".to_owned(),
        };
        if let Some(authorities) = &settings.authorities {
            for certificate in Certificate::from_pem_bundle(&authorities.pem).map_err(unfit)? {
                client = client.with_root_certificate(certificate);
            }
        }
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_credentials(Arc::new(Bridge::new(provider)))
            .with_retry(RetryConfig {
                max_retries: RETRIES,
                retry_timeout: OBJECT_TIMEOUT,
                ..RetryConfig::default()
            });
        if let Some(url) = config.endpoint_url() {
            client = client.with_allow_http(url.starts_with("http://"));
            builder = builder.with_endpoint(url.trim_end_matches('/'));
        } else {
            builder = builder.with_virtual_hosted_style_request(!bucket.contains('.'));
        }
        builder.with_client_options(client).build().map_err(unfit)
    }
}

/// Hands the SDK's credentials to the object store.
struct Bridge {
    provider: SharedCredentialsProvider,
    /// Asking for those of a role is a call.
    last: Mutex<Option<(Stopwatch, Arc<AwsCredential>)>>,
}

impl Bridge {
    fn new(provider: SharedCredentialsProvider) -> Self {
        Self {
            provider,
            last: Mutex::default(),
        }
    }

    async fn credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut last = self.last.lock().await;
        if let Some((since, credential)) = &*last
            && since.elapsed() < CREDENTIALS_GOOD_FOR
        {
            return Ok(credential.clone());
        }
        let provided = self.provider.provide_credentials().await;
        let provided = provided.map_err(|error| object_store::Error::Unauthenticated {
            path: String::new(),
            source: error.into(),
        })?;
        let credential = Arc::new(AwsCredential {
            key_id: provided.access_key_id().to_owned(),
            secret_key: provided.secret_access_key().to_owned(),
            token: provided.session_token().map(str::to_owned),
        });
        *last = Some((Stopwatch::start(), credential.clone()));
        Ok(credential)
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").finish_non_exhaustive()
    }
}

impl CredentialProvider for Bridge {
    type Credential = AwsCredential;

    // As the trait's macro writes it.
    fn get_credential<'s, 'f>(&'s self) -> BoxFuture<'f, object_store::Result<Arc<AwsCredential>>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(self.credential())
    }
}

/// Sorts an error of the object store as those of all other calls.
pub fn failure(error: &object_store::Error) -> Failure {
    use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
    let (kind, code) = match error {
        PermissionDenied { .. } => (Kind::Denied, "AccessDenied"),
        Unauthenticated { .. } => (Kind::Unaccepted, "Unauthenticated"),
        NotFound { .. } => (Kind::Refused, "NotFound"),
        _ => (Kind::Lost, ""),
    };
    Failure {
        kind,
        code: code.to_owned(),
        message: failure::chain(error),
    }
}
