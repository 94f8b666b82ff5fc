//! Credentials in memory, which calls use and only [`super::Aws::connect`] renews.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use arc_swap::ArcSwap;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, future};

/// The credentials that calls use. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Held(Arc<ArcSwap<Credentials>>);

impl Held {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(credentials)))
    }

    pub(super) fn replace(&self, credentials: Credentials) {
        self.0.store(Arc::new(credentials));
    }

    /// Whether they end before a time in seconds since 1970.
    pub(super) fn ends_before(&self, seconds: i64) -> bool {
        let expiry = self.0.load().expiry();
        let end = expiry.and_then(|end| end.duration_since(UNIX_EPOCH).ok());
        end.is_some_and(|end| i64::try_from(end.as_secs()).unwrap_or(i64::MAX) < seconds)
    }
}

impl ProvideCredentials for Held {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Ok(Credentials::clone(&self.0.load())))
    }
}
