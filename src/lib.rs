//! tallyd tells a company how its developers use Claude Code.
//!
//! Usage enters by the doors (OTLP, usage API), passes the one [`record`]er into the durable
//! ledger of [`store`], and is read as metrics ([`registry`], [`export`]) and as figures
//! ([`store::Ledger::usage`]). `ARCHITECTURE.md` follows a record from socket to scrape.
//!
//! Floors, from the ground up; a file imports only from lower floors, and doors never from each
//! other:
//!
//! | floor | modules |
//! |---|---|
//! | 0 words | [`model`], [`clock`] |
//! | 1 setting | [`config`] |
//! | 2 tools | [`registry`], [`series`], [`schedule`], [`store`], [`record`], [`notify`], [`aws`], [`heard`], [`ready`] |
//! | 3 jobs | [`alarm`], [`collect`], [`export`], [`forward`], [`quota`], [`report`] |
//! | 4 doors | [`http`], [`grpc`], [`otlp`], [`web`] |
//! | 5 house | [`app`], [`serve`], [`cli`], [`telemetry`], [`demo`] |

pub mod alarm;
pub mod app;
pub mod aws;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod config;
pub mod demo;
pub mod export;
pub mod forward;
pub mod grpc;
pub mod heard;
pub mod http;
pub mod model;
pub mod notify;
pub mod otlp;
pub mod quota;
pub mod ready;
pub mod record;
pub mod registry;
pub mod report;
pub mod schedule;
pub mod series;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod web;
