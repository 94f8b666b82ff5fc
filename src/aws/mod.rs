//! Amazon Web Services: one set-up for all clients, and what is wrong with it.
//!
//! The configuration of the SDK is made once, with time-outs, proxy and authorities. Credentials
//! are looked for by [`Aws::connect`] alone, under a time-out, and held: a call never goes looking
//! for them, so no call hangs on an instance metadata service that is not there, and their
//! absence is a [`State`]. What calls run into is told by [`Aws::note`] and kept as one line for
//! each action until a call succeeds. tallyd works on without AWS.

mod failure;
mod held;
mod http;
mod permission;
mod s3;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use jiff::Timestamp;
use tracing::{info, warn};

use crate::config::{self, Account};
use held::Held;

pub use failure::{Failure, Kind};
pub use permission::Permission;
pub use s3::failure as s3_failure;

/// Time for everything that [`Aws::connect`] does. Off AWS the search ends at the instance
/// metadata service, which takes seconds to be found missing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Time to wait for a first look of another job, which is [`CONNECT_TIMEOUT`] and its work.
const FIRST_LOOK_TIMEOUT: Duration = Duration::from_secs(20);
const FIRST_LOOK_POLL: Duration = Duration::from_millis(50);

/// Time to ask who the credentials belong to.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(5);

/// Credentials are looked for again this long before they end.
const RENEW_SECONDS: i64 = 10 * 60;

/// Where region or credentials are missing, they are looked for again after this long: each look
/// may ask the instance metadata service.
const LOOK_AGAIN_SECONDS: i64 = 60;

/// Attempts of a call, for services where a second one does no harm.
const ATTEMPTS: u32 = 3;

/// Clients of other accounts and regions that are kept.
const MAX_ASSUMED: usize = 1_000;

/// Why the set-up cannot be made at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS for AWS")]
pub struct AwsError(#[from] aws_smithy_http_client::HttpClientError);

/// Whether AWS can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing has asked for it.
    Off,
    Ready {
        region: String,
        /// Whose credentials these are, where STS tells it.
        account: Option<String>,
    },
    Trouble(Trouble),
}

/// Why AWS cannot be called, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {mend}")]
pub struct Trouble {
    pub what: String,
    pub mend: String,
}

/// What is wrong with one action, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Such as `cloudwatch:PutMetricData`, or `credentials`.
    pub action: &'static str,
    /// For the log: what AWS said, with names of accounts and roles.
    pub line: String,
    /// For everyone who can reach `/readyz`: the code and the mend.
    pub open: String,
}

impl Problem {
    /// What a job's failed call says of the set-up, by the word of its reason: `None` where it
    /// passes by itself, or where tallyd's own credentials are missing, which is told elsewhere.
    pub fn of_call(
        action: &'static str,
        reason: &str,
        account: Option<&Account>,
        line: String,
    ) -> Option<Self> {
        let action = match (reason, account) {
            ("denied" | "unreachable" | "refused", _) => action,
            ("credentials", Some(_)) => "sts:AssumeRole",
            _ => return None,
        };
        Some(Self {
            action,
            open: line.clone(),
            line,
        })
    }
}

/// The way to AWS. Cheap to clone.
#[derive(Clone)]
pub struct Aws(Arc<Inner>);

struct Inner {
    settings: config::Aws,
    http: aws_smithy_runtime_api::client::http::SharedHttpClient,
    state: Mutex<State>,
    looked_at: Mutex<Option<Timestamp>>,
    connection: Mutex<Option<Connection>>,
    /// By role and region.
    assumed: Mutex<HashMap<(String, String), SdkConfig>>,
    problems: Mutex<BTreeMap<&'static str, Problem>>,
    /// By the job that told them.
    told: Mutex<BTreeMap<&'static str, Vec<Problem>>>,
    /// A call was refused for its credentials: others may be where these came from.
    is_doubtful: AtomicBool,
}

/// What a successful [`Aws::connect`] has found.
#[derive(Clone, Debug)]
struct Connection {
    /// With `held` as its credentials.
    config: SdkConfig,
    held: Held,
    source: SharedCredentialsProvider,
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws").finish_non_exhaustive()
    }
}

impl Aws {
    /// Makes the set-up. Nothing is asked of the network before [`Aws::connect`].
    pub fn new(settings: &config::Aws) -> Result<Self, AwsError> {
        Ok(Self(Arc::new(Inner {
            http: http::client(settings.authorities.as_ref())?,
            settings: settings.clone(),
            state: Mutex::new(State::Off),
            looked_at: Mutex::default(),
            connection: Mutex::default(),
            assumed: Mutex::default(),
            problems: Mutex::default(),
            told: Mutex::default(),
            is_doubtful: AtomicBool::new(false),
        })))
    }

    /// Looks for region and credentials, or renews credentials that end soon. Call it at the
    /// start and every few seconds: it does nothing while all is well, and looks once a minute
    /// while it is not.
    pub async fn connect(&self, now: Timestamp) {
        let is_doubtful = self.0.is_doubtful.load(Ordering::Relaxed);
        let known = lock(&self.0.connection).clone();
        if let Some(connection) = &known
            && !is_doubtful
            && !connection.held.ends_before(now.as_second() + RENEW_SECONDS)
            && matches!(self.state(), State::Ready { .. })
        {
            return;
        }
        if !self.is_due(now) {
            return;
        }
        let look = async {
            match known {
                Some(connection) if !is_doubtful => self.renew(&connection).await,
                _ => self.look().await,
            }
        };
        let found = tokio::time::timeout(CONNECT_TIMEOUT, look).await;
        let state = match found.unwrap_or_else(|_| Err(too_slow())) {
            Ok(state) => {
                self.0.is_doubtful.store(false, Ordering::Relaxed);
                state
            }
            // Credentials that still hold are used to their end.
            Err(trouble) if self.holds_credentials(now) => {
                warn!(error = %trouble, "credentials for AWS cannot be renewed yet");
                return;
            }
            Err(trouble) => State::Trouble(trouble),
        };
        self.enter(state);
    }

    /// As [`Self::connect`], and waits for the first look where another job is at it already. What
    /// does not come within the time is told by the next call.
    pub async fn looked(&self, now: Timestamp) {
        self.connect(now).await;
        let looked = async {
            while self.state() == State::Off {
                tokio::time::sleep(FIRST_LOOK_POLL).await;
            }
        };
        // Without an outcome the caller finds AWS as it is.
        let _ = tokio::time::timeout(FIRST_LOOK_TIMEOUT, looked).await;
    }

    /// What is the case now.
    pub fn state(&self) -> State {
        lock(&self.0.state).clone()
    }

    /// Whose credentials these are, where it is known.
    pub fn account_id(&self) -> Option<String> {
        match self.state() {
            State::Ready { account, .. } => account,
            State::Off | State::Trouble(_) => None,
        }
    }

    /// A client for CloudWatch. It tries a call up to three times; where a second attempt could
    /// do harm, switch that off with a `config_override`.
    pub fn cloudwatch(&self) -> Result<aws_sdk_cloudwatch::Client, Trouble> {
        Ok(aws_sdk_cloudwatch::Client::new(&self.config()?))
    }

    /// A client for SNS.
    pub fn sns(&self) -> Result<aws_sdk_sns::Client, Trouble> {
        Ok(aws_sdk_sns::Client::new(&self.config()?))
    }

    /// The configuration for a client of any service.
    pub fn config(&self) -> Result<SdkConfig, Trouble> {
        let connection = lock(&self.0.connection);
        match (&*connection, self.state()) {
            (Some(connection), State::Ready { .. }) => Ok(connection.config.clone()),
            (_, State::Trouble(trouble)) => Err(trouble),
            _ => Err(Trouble {
                what: "AWS was not asked for yet".to_owned(),
                mend: "it will be with the next round".to_owned(),
            }),
        }
    }

    /// The configuration for another region, and for another account through its role. Assumed
    /// credentials are kept and renewed by the SDK.
    pub async fn config_in(
        &self,
        account: Option<&Account>,
        region: &str,
    ) -> Result<SdkConfig, Trouble> {
        let own = self.config()?;
        let region = Region::new(region.to_owned());
        let Some(account) = account else {
            return Ok(own.into_builder().region(region).build());
        };
        let key = (account.role.clone(), region.to_string());
        if let Some(known) = lock(&self.0.assumed).get(&key) {
            return Ok(known.clone());
        }
        let mut role = AssumeRoleProvider::builder(&account.role)
            .session_name("tallyd")
            .region(region.clone())
            .configure(&own);
        if let Some(external_id) = &account.external_id {
            role = role.external_id(external_id);
        }
        let config = own
            .into_builder()
            .region(region)
            .credentials_provider(SharedCredentialsProvider::new(role.build().await))
            .identity_cache(IdentityCache::lazy().build())
            .build();
        let mut assumed = lock(&self.0.assumed);
        if assumed.len() >= MAX_ASSUMED {
            assumed.clear();
        }
        assumed.insert(key, config.clone());
        Ok(config)
    }

    /// Keeps what became of a call. A set-up problem is told in the log when it is new, and kept
    /// until a call with the same action succeeds; what passes by itself is no problem.
    pub fn note(&self, permission: &Permission, outcome: Result<(), &Failure>) {
        let action = permission.action;
        let problem = match outcome {
            Ok(()) => None,
            Err(failure) => {
                if failure.kind == Kind::Unaccepted {
                    self.0.is_doubtful.store(true, Ordering::Relaxed);
                }
                let Some(mend) = failure.mend(permission) else {
                    return;
                };
                Some(Problem {
                    action,
                    line: format!("{action}: {failure}; {mend}"),
                    open: format!("{action}: {}; {mend}", failure.kind.name()),
                })
            }
        };
        let mut problems = lock(&self.0.problems);
        let before = match &problem {
            Some(problem) => problems.insert(action, problem.clone()),
            None => problems.remove(action),
        };
        drop(problems);
        match problem {
            Some(problem) if before.as_ref() != Some(&problem) => {
                warn!(problem = problem.line, "a call to AWS does not work");
            }
            None if before.is_some() => info!(action, "a call to AWS works again"),
            _ => {}
        }
    }

    /// Keeps what is wrong with the calls of one job, which logs it itself: one that reads many
    /// accounts knows whether an action fails in any of them. It takes the place of what the job
    /// told before.
    pub fn tell(&self, job: &'static str, problems: Vec<Problem>) {
        lock(&self.0.told).insert(job, problems);
    }

    /// All that is wrong, by action.
    pub fn problems(&self) -> Vec<Problem> {
        let mut all = Vec::new();
        if let State::Trouble(trouble) = self.state() {
            all.push(Problem {
                action: "credentials",
                line: trouble.to_string(),
                open: trouble.to_string(),
            });
        }
        all.extend(lock(&self.0.problems).values().cloned());
        all.extend(lock(&self.0.told).values().flatten().cloned());
        all
    }

    /// Whether it is time for another look, and that it happens now.
    fn is_due(&self, now: Timestamp) -> bool {
        let mut looked_at = lock(&self.0.looked_at);
        let ago = looked_at.map(|before| now.duration_since(before).as_secs());
        // A clock that was set back is no reason to wait.
        let is_due = !ago.is_some_and(|ago| (0..LOOK_AGAIN_SECONDS).contains(&ago));
        if is_due {
            *looked_at = Some(now);
        }
        is_due
    }

    async fn look(&self) -> Result<State, Trouble> {
        let settings = &self.0.settings;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(settings.connect_timeout)
            .operation_attempt_timeout(settings.timeout)
            .operation_timeout(settings.timeout.saturating_mul(ATTEMPTS + 1))
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.0.http.clone())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(url) = &settings.endpoint_url {
            loader = loader.endpoint_url(url.as_str());
        }
        let config = loader.load().await;
        if config.region().is_none() {
            return Err(no_region());
        }
        let Some(source) = config.credentials_provider() else {
            return Err(self.no_credentials("nothing provides them"));
        };
        let held = Held::new(self.provide(&source).await?);
        let connection = Connection {
            config: config
                .into_builder()
                .credentials_provider(SharedCredentialsProvider::new(held.clone()))
                .identity_cache(IdentityCache::no_cache())
                .build(),
            held,
            source,
        };
        let state = identify(&connection).await?;
        *lock(&self.0.connection) = Some(connection);
        Ok(state)
    }

    async fn renew(&self, connection: &Connection) -> Result<State, Trouble> {
        let provided = self.provide(&connection.source).await?;
        connection.held.replace(provided);
        identify(connection).await
    }

    async fn provide(&self, source: &SharedCredentialsProvider) -> Result<Credentials, Trouble> {
        let provided = source.provide_credentials().await;
        provided.map_err(|error| self.no_credentials(&failure::chain(&error)))
    }

    fn no_credentials(&self, why: &str) -> Trouble {
        let mend = match &self.0.settings.profile {
            Some(profile) => format!(
                "check that the profile {profile} (aws.profile) is in the files of the AWS CLI and \
                 says where credentials come from"
            ),
            None => {
                "give tallyd a role (of the instance, task or pod), a profile (aws.profile), or \
                     AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                    .to_owned()
            }
        };
        Trouble {
            what: format!("no credentials for AWS were found ({why})"),
            mend,
        }
    }

    fn holds_credentials(&self, now: Timestamp) -> bool {
        let connection = lock(&self.0.connection);
        let held = connection.as_ref().map(|connection| &connection.held);
        matches!(self.state(), State::Ready { .. })
            && held.is_some_and(|held| !held.ends_before(now.as_second()))
    }

    fn enter(&self, state: State) {
        let before = std::mem::replace(&mut *lock(&self.0.state), state.clone());
        if before == state {
            return;
        }
        match state {
            State::Off => {}
            State::Ready { region, account } => info!(region, account, "AWS can be used"),
            State::Trouble(trouble) => warn!(problem = %trouble, "AWS cannot be used"),
        }
    }
}

/// Asks STS whose credentials these are, which everyone may. Credentials that it does not accept
/// are trouble; a network without STS is none.
async fn identify(connection: &Connection) -> Result<State, Trouble> {
    let once = aws_sdk_sts::config::Builder::new()
        .retry_config(RetryConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .operation_timeout(IDENTITY_TIMEOUT)
                .build(),
        );
    let asked = aws_sdk_sts::Client::new(&connection.config)
        .get_caller_identity()
        .customize()
        .config_override(once)
        .send()
        .await;
    let account = match asked {
        Ok(answer) => answer.account,
        Err(error) => {
            let failure = Failure::of(&error);
            if failure.kind == Kind::Unaccepted {
                return Err(Trouble {
                    what: format!("AWS does not accept the credentials: {failure}"),
                    mend: "renew them, and check this host's clock".to_owned(),
                });
            }
            None
        }
    };
    let region = connection.config.region().map(ToString::to_string);
    Ok(State::Ready {
        region: region.unwrap_or_default(),
        account,
    })
}

fn no_region() -> Trouble {
    Trouble {
        what: "no region for AWS is known".to_owned(),
        mend: "set aws.region or AWS_REGION".to_owned(),
    }
}

fn too_slow() -> Trouble {
    let seconds = CONNECT_TIMEOUT.as_secs();
    Trouble {
        what: format!("region and credentials for AWS were not found within {seconds} s"),
        mend: "set aws.region; off AWS set AWS_EC2_METADATA_DISABLED=true; behind a proxy put \
               169.254.169.254 into NO_PROXY"
            .to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
