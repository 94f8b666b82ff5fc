//! What a failed call means for its caller.

use std::error::Error;
use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::Permission;

/// Why a call failed, in words that neither repeat a secret nor a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: Kind,
    /// AWS' code, empty where there was no answer.
    pub code: String,
    pub message: String,
}

/// What a failure says about the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No connection came about: nothing was sent.
    Unreachable,
    /// It was sent and no answer came: it may have been carried out.
    Lost,
    /// Too many calls; not carried out.
    Throttled,
    /// AWS' own fault; not carried out.
    Fault,
    /// The body is too large; not carried out.
    TooLarge,
    /// No permission.
    Denied,
    /// The credentials or the signature's time are not accepted.
    Unaccepted,
    /// The content is wrong: the same call can never succeed.
    Invalid,
    /// Another refusal, such as by an endpoint that does not know the operation.
    Refused,
}

impl Kind {
    /// The word in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::Throttled => "throttled",
            Self::Fault => "fault",
            Self::TooLarge => "too_large",
            Self::Denied => "denied",
            Self::Unaccepted => "unaccepted",
            Self::Invalid => "invalid",
            Self::Refused => "refused",
        }
    }
}

/// Too many calls (AWS: codes that its SDKs treat as throttling).
const THROTTLED: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "Throttled",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "BandwidthLimitExceeded",
    "SlowDown",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
    "EC2ThrottledException",
];

const DENIED: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "AuthorizationErrorException",
    "NotAuthorized",
    "UnauthorizedOperation",
];

const UNACCEPTED: &[&str] = &[
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "OptInRequired",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

const INVALID: &[&str] = &[
    "InvalidParameterCombination",
    "InvalidParameterCombinationException",
    "InvalidParameterValue",
    "InvalidParameterValueException",
    "MissingParameter",
    "MissingRequiredParameterException",
    "ValidationError",
    "ValidationException",
];

impl Failure {
    /// Sorts the error of a call.
    pub fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let status = error.raw_response().map(|answer| answer.status().as_u16());
        let code = error.code().unwrap_or_default().to_owned();
        let kind = match error {
            SdkError::ConstructionFailure(_) => Kind::Refused,
            SdkError::TimeoutError(_) => Kind::Lost,
            SdkError::DispatchFailure(failure) => {
                let never_sent = failure.is_user()
                    || failure
                        .as_connector_error()
                        .is_some_and(|error| was_connecting(error));
                if never_sent {
                    Kind::Unreachable
                } else {
                    Kind::Lost
                }
            }
            _ => answered(status.unwrap_or_default(), &code),
        };
        let message = match (error.message(), status) {
            (Some(message), _) => message.to_owned(),
            (None, Some(status)) => format!("HTTP status {status}"),
            (None, None) => chain(error),
        };
        Self {
            kind,
            code,
            message,
        }
    }

    /// What to do about it; `None` for what passes by itself or concerns the content only.
    pub fn mend(&self, permission: &Permission) -> Option<String> {
        match self.kind {
            Kind::Denied => Some(format!("allow it with {}", permission.statement())),
            Kind::Unaccepted => {
                Some("renew the credentials, and check this host's clock".to_owned())
            }
            Kind::Unreachable => Some(
                "check aws.region, the network, HTTPS_PROXY, NO_PROXY and AWS_CA_BUNDLE".to_owned(),
            ),
            Kind::Refused => Some("check aws.region and aws.endpoint_url".to_owned()),
            Kind::Lost | Kind::Throttled | Kind::Fault | Kind::TooLarge | Kind::Invalid => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.code, self.message)
        }
    }
}

/// Sorts an answer that is an error. The code goes before the status: throttling is a 400.
fn answered(status: u16, code: &str) -> Kind {
    let is_in = |codes: &[&str]| codes.contains(&code);
    match status {
        _ if is_in(THROTTLED) => Kind::Throttled,
        _ if is_in(DENIED) => Kind::Denied,
        _ if is_in(UNACCEPTED) => Kind::Unaccepted,
        400 if is_in(INVALID) => Kind::Invalid,
        // An answer of success whose body cannot be read: it was carried out, or it may have been.
        200..=299 | 408 => Kind::Lost,
        401 => Kind::Unaccepted,
        403 => Kind::Denied,
        413 => Kind::TooLarge,
        429 => Kind::Throttled,
        501 => Kind::Refused,
        500..=599 => Kind::Fault,
        _ => Kind::Refused,
    }
}

/// Whether the connection was still being made. The SDK's own kinds do not tell: a connection
/// that is reset after the request was sent is an I/O error like one that was refused.
fn was_connecting(error: &(dyn Error + 'static)) -> bool {
    sources(error).any(|error| {
        error
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(hyper_util::client::legacy::Error::is_connect)
    })
}

/// What went wrong, from the outside to its root, each reason once, in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for error in sources(error) {
        let reason = one_line(&error.to_string());
        if text.contains(&reason) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&reason);
    }
    text
}

/// The SDK tells the places where it looked for credentials in lines of their own, each with the
/// same words.
fn one_line(text: &str) -> String {
    const UNUSED: &str = "the credential provider was not enabled";
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let line = lines.join("; ").replace(":; ", ": ");
    let line = line.replace(&format!("{UNUSED}: "), "");
    line.replace(&format!(": {UNUSED}"), "")
}

fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_goes_before_the_status() {
        let kinds = [
            (400, "Throttling", Kind::Throttled),
            (400, "InvalidParameterValue", Kind::Invalid),
            (400, "ExpiredToken", Kind::Unaccepted),
            (400, "SerializationException", Kind::Refused),
            (403, "AccessDenied", Kind::Denied),
            (403, "", Kind::Denied),
            (404, "UnknownOperationException", Kind::Refused),
            (413, "", Kind::TooLarge),
            (500, "InternalServiceError", Kind::Fault),
            (501, "NotImplemented", Kind::Refused),
            (503, "", Kind::Fault),
            (200, "", Kind::Lost),
        ];
        for (status, code, kind) in kinds {
            assert_eq!(answered(status, code), kind, "{status} {code}");
        }
    }

    #[test]
    fn reasons_in_several_lines_become_one() {
        let told = "no credentials found in chain. Attempted:\n  Environment: the credential \
                    provider was not enabled: environment variable not set\n  Profile: the \
                    credential provider was not enabled";
        assert_eq!(
            one_line(told),
            "no credentials found in chain. Attempted: Environment: environment variable not set; \
             Profile"
        );
    }

    #[test]
    fn a_missing_permission_is_told_with_its_statement() {
        let failure = Failure {
            kind: Kind::Denied,
            code: "AccessDenied".to_owned(),
            message: "not authorized".to_owned(),
        };
        let permission = Permission::anywhere("cloudwatch:ListMetrics");
        assert_eq!(
            failure.mend(&permission).as_deref(),
            Some(
                r#"allow it with {"Effect":"Allow","Action":"cloudwatch:ListMetrics","Resource":"*"}"#
            )
        );
    }
}
