//! From the `Authorization` header to a grant.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::Api;
use super::error::Problem;
use crate::model::access::{Denied, Grant, Scope};

/// Finds what the caller's bearer token allows and checks one scope.
///
/// Errors: 401 without a token or with an unknown one, 403 where the scope is missing.
pub(super) fn grant(api: &Api, headers: &HeaderMap, scope: Scope) -> Result<Arc<Grant>, Problem> {
    let bearer = headers.get(AUTHORIZATION).map(|value| {
        let text = value.to_str().unwrap_or_default();
        bearer_of(text).unwrap_or_default()
    });
    api.access
        .load()
        .authorize(bearer, scope)
        .map_err(Problem::from)
}

/// The same where any of several scopes is enough.
pub(super) fn grant_any(
    api: &Api,
    headers: &HeaderMap,
    scopes: &[Scope],
) -> Result<Arc<Grant>, Problem> {
    let mut denied = Problem::from(Denied::Missing);
    for scope in scopes {
        match grant(api, headers, *scope) {
            Ok(grant) => return Ok(grant),
            Err(problem) => denied = problem,
        }
    }
    Err(denied)
}

/// The token of a bearer header; the scheme's case does not matter (RFC 9110, section 11.1).
fn bearer_of(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_header_carries_a_token() {
        let seen = [
            "Bearer abc",
            "bearer  abc ",
            "Basic abc",
            "Bearer",
            "Bearer ",
            "",
        ]
        .map(bearer_of);
        assert_eq!(seen, [Some("abc"), Some("abc"), None, None, None, None]);
    }
}
