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
//! | 1 setting | [`config`] |
//! | 2 tools | [`registry`], [`schedule`], [`store`], [`record`], [`heard`], [`ready`], [`forward`] |
//! | 3 jobs | [`collect`], [`export`] |
//! | 4 doors | `http`, `grpc`, `otlp`, `web` |
//! | 5 house | [`app`], [`serve`], [`cli`], [`telemetry`], [`demo`] |

pub mod app;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod config;
pub mod demo;
pub mod export;
pub mod forward;
pub mod heard;
pub mod http;
pub mod model;
pub mod otlp;
pub mod ready;
pub mod record;
pub mod registry;
pub mod schedule;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod web;
