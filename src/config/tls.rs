//! `[tls]`: the certificate.

use std::path::PathBuf;

use super::reader::Reader;
use super::setting::{Section, Setting};
use super::value::readable_file;

/// Certificate chain and private key, PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

pub(super) const SECTION: Section = Section {
    name: "tls",
    help: "TLS on every listener. The files are read again when they change.",
    settings: &[
        Setting::new(
            "cert",
            r#""""#,
            "PEM file with the certificate and its chain.",
        ),
        Setting::new("key", r#""""#, "PEM file with the private key."),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Tls> {
    let mut section = reader.section(&SECTION);
    let cert = section.get("cert", readable_file);
    let key = section.get("key", readable_file);
    match (cert, key) {
        (Some(cert), Some(key)) => Some(Tls { cert, key }),
        (None, None) => None,
        (Some(_), None) => {
            section.fault("key", "is needed where tls.cert is set");
            None
        }
        (None, Some(_)) => {
            section.fault("cert", "is needed where tls.key is set");
            None
        }
    }
}
