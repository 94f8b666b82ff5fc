//! Reads arbitrary bytes as OTLP in JSON, as every signal. What is kept must be within bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tallyd::model::access::{AccessList, Scope};
use tallyd::model::identify::IdentityRules;
use tallyd::model::names::ModelNames;
use tallyd::model::tokens::Tokens;
use tallyd::otlp::{Context, Encoding, Signal, decode};

fuzz_target!(|body: &[u8]| {
    let grant = AccessList::default()
        .authorize(None, Scope::Ingest)
        .expect("an empty list lets everyone in");
    let context = Context {
        names: &ModelNames::default(),
        rules: &IdentityRules::default(),
        headers: &http::HeaderMap::new(),
        grant: &grant,
    };
    for signal in Signal::ALL {
        let Ok(decoded) = decode(signal, Encoding::Json, body, context) else {
            continue;
        };
        for record in &decoded.intake.records {
            assert!(record.tokens.input <= Tokens::MAX && record.tokens.output <= Tokens::MAX);
            assert!(record.sku.raw_model.len() <= 256);
        }
        for point in &decoded.intake.points {
            assert!(point.value <= Tokens::MAX);
        }
    }
});
