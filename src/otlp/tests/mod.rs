//! Tests of the whole door: bodies in, facts and answers out.

mod bad_input;
mod encodings;
mod events;
mod fixtures;
mod genai;
mod privacy;
mod support;
mod transport;
