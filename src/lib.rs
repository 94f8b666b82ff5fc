//! tallyd tells a company how its developers use Claude Code.
//!
//! Usage enters by the doors (OTLP, usage API), passes the one [`record`]er into the durable
//! ledger, and is read as Prometheus metrics, usage queries and reports.
//!
//! Floors, from the ground up; a file imports only from lower floors (`tests/it/floors.rs`):
//!
//! | floor | modules |
//! |---|---|
//! | 0 words | [`model`], [`clock`] |
//! | 1 setting | `config` |
//! | 2 tools | `registry`, `schedule`, `store`, [`record`] |
//! | 3 jobs | `collect`, `export` |
//! | 4 doors | `http`, `grpc`, `otlp`, `web` |
//! | 5 house | `app`, `cli`, `telemetry`, `demo` |

pub mod clock;
pub mod heard;
pub mod http;
pub mod model;
pub mod ready;
pub mod record;
pub mod registry;
pub mod store;
pub mod web;
