//! `/`: one plain page that says what this is, links to all there is, and shows today's figures.
//!
//! The page is one self-contained file. Its script asks the API like any other client.

use std::sync::Arc;

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::IntoResponse;
use axum::routing::get;
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(
    "\"use strict\";\n",
    include_str!("charts.js"),
    include_str!("page.js")
);

/// Builds the router of the page.
pub fn router() -> Router {
    let page: Arc<str> = page().into();
    let policy: Arc<str> = policy().into();
    Router::new().route(
        "/",
        get(move || {
            let (page, policy) = (Arc::clone(&page), Arc::clone(&policy));
            async move {
                let headers = [
                    (CONTENT_TYPE, "text/html; charset=utf-8"),
                    (CACHE_CONTROL, "no-cache"),
                    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
                    (CONTENT_SECURITY_POLICY, &*policy),
                ];
                (headers, page.to_string()).into_response()
            }
        }),
    )
}

fn page() -> String {
    PAGE.replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{style}}", STYLE)
        .replace("{{script}}", SCRIPT)
}

/// Lets the page run its own script and style and ask its own origin, and nothing else.
fn policy() -> String {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        source_hash(SCRIPT),
        source_hash(STYLE)
    )
}

/// The hash by which a content security policy knows an inline source.
fn source_hash(source: &str) -> String {
    format!("sha256-{}", base64(&Sha256::digest(source.as_bytes())))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().enumerate().fold(0_usize, |group, (at, byte)| {
            group | usize::from(*byte) << (16 - 8 * at)
        });
        for at in 0..4 {
            let digit = DIGITS[group >> (18 - 6 * at) & 63];
            text.push(if at <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{HeaderName, Request};
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn base64_pads_to_four() {
        let seen = ["", "f", "fo", "foo", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(seen, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYmFy"]);
    }

    #[tokio::test]
    async fn the_page_is_self_contained() {
        let request = Request::get("/").body(Body::empty()).expect("a request");
        let response = router().oneshot(request).await.expect("an answer");
        let header = |name: HeaderName| {
            let value = response.headers().get(name).expect("the header is there");
            value.to_str().expect("ASCII").to_owned()
        };
        assert_eq!(header(CONTENT_TYPE), "text/html; charset=utf-8");
        assert!(
            header(CONTENT_SECURITY_POLICY).starts_with("default-src 'none'; script-src 'sha256-")
        );
        let body = to_bytes(response.into_body(), 100_000)
            .await
            .expect("a body");
        let page = String::from_utf8(body.to_vec()).expect("UTF-8");
        assert!(page.contains(env!("CARGO_PKG_VERSION")));
        assert!(!page.contains("{{"), "every place holder is filled");
        for reference in [
            "src=",
            "url(",
            "@import",
            "href=\"http",
            "style=\"",
            "onclick",
        ] {
            assert!(
                !page.contains(reference),
                "{reference} is not allowed by the policy"
            );
        }
        let links = [
            "/metrics",
            "/api/v1/usage",
            "/api/v1/minutes?metric=requests_per_minute",
            "/api/v1/openapi.json",
            "/api/v1/sources",
            "/healthz",
            "/readyz",
        ];
        for link in links {
            assert!(page.contains(&format!("href=\"{link}")), "{link} is linked");
        }
    }
}
