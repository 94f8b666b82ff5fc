//! `[listen]`: the addresses.

use std::net::SocketAddr;

use super::reader::Reader;
use super::setting::{Section, Setting};
use super::value::address;

/// Where tallyd listens; `None` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Web page, `/metrics`, API and OTLP over HTTP.
    pub http: Option<SocketAddr>,
    /// OTLP over HTTP alone.
    pub otlp_http: Option<SocketAddr>,
    pub grpc: Option<SocketAddr>,
}

pub(super) const SECTION: Section = Section {
    name: "listen",
    help: "Addresses to listen on. An empty text switches a listener off, port 0 takes a free one. \
           An address that is not loopback needs tokens in [auth].",
    settings: &[
        Setting::new(
            "http",
            r#""127.0.0.1:9477""#,
            "Web page, /metrics, API, and OTLP over HTTP.",
        ),
        Setting::new("otlp_http", r#""127.0.0.1:4318""#, "OTLP over HTTP alone."),
        Setting::new("grpc", r#""127.0.0.1:4317""#, "OTLP over gRPC."),
    ],
};

impl Listen {
    /// The listeners that are on, with the name of their key.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        [
            ("http", self.http),
            ("otlp_http", self.otlp_http),
            ("grpc", self.grpc),
        ]
        .into_iter()
        .filter_map(|(key, address)| address.map(|address| (key, address)))
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Listen {
    let mut section = reader.section(&SECTION);
    let listen = Listen {
        http: section.get("http", address),
        otlp_http: section.get("otlp_http", address),
        grpc: section.get("grpc", address),
    };
    let addresses: Vec<_> = listen.addresses().collect();
    for (index, (key, address)) in addresses.iter().enumerate() {
        let mut earlier = addresses[..index].iter();
        if let Some((other, _)) = earlier.find(|(_, taken)| taken == address && taken.port() != 0) {
            section.fault(
                key,
                &format!("must differ from listen.{other}, got {address}"),
            );
        }
    }
    if addresses.is_empty() {
        section.fault("http", "at least one listener must be on");
    }
    listen
}
