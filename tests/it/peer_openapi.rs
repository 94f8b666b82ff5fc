//! schemathesis reads the OpenAPI document and asks what it says, and what it does not.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::Place;
use crate::peers::python;

/// What every answer must keep.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

/// Writes where the body says, and answers 503 where that is not possible.
const WRITES_FILES: &str = "/api/v1/store/backup";

#[tokio::test]
#[ignore = "needs schemathesis"]
async fn no_question_brings_a_server_error_or_an_undocumented_answer() {
    let place = Place::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let policy = root.join("deploy/policies/example.toml");
    place.configure(&format!("[quota]\npolicy = \"{}\"", policy.display()));
    let daemon = place.start().await;

    let url = daemon.request("/api/v1/openapi.json").build().unwrap();
    let program = python().with_file_name("schemathesis");
    let mut command = Command::new(program);
    command
        .args(["run", url.url().as_str()])
        .args(["--exclude-path", WRITES_FILES])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", "60", "--workers", "2"])
        .args(["--generation-deterministic", "--no-color"])
        .args(["--checks", CHECKS])
        .env("SCHEMATHESIS_HOOKS", "openapi_hooks")
        .env("PYTHONPATH", root.join("tests/peers"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(place.store().parent().unwrap())
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    // It did reach the doors of quotas and of usage.
    let selected = said.split_once("Selected: ").unwrap().1;
    let selected: u32 = selected.split_once('/').unwrap().0.parse().unwrap();
    assert!(selected >= 29, "{said}");
}
