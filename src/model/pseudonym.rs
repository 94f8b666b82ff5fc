//! Pseudonyms: names for places where real ones may not be stored or shown.

use std::fmt;
use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of the keyed hash that are shown: 64 bits keep a million names apart.
const SHOWN_BYTES: usize = 8;

/// Turns names into pseudonyms under one secret key. Equal names give equal pseudonyms; without
/// the key a name can be neither found nor guessed from its pseudonym.
#[derive(Clone)]
pub struct Pseudonyms(Hmac<Sha256>);

impl Pseudonyms {
    /// Takes a key of any length; HMAC hashes a long one and pads a short one (RFC 2104).
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of every length"))
    }

    /// `p:` and sixteen hex digits of the HMAC-SHA256 of the name.
    #[must_use]
    pub fn of(&self, name: &str) -> String {
        let mut mac = self.0.clone();
        mac.update(name.as_bytes());
        let mut text = String::with_capacity(2 + 2 * SHOWN_BYTES);
        text.push_str("p:");
        for byte in &mac.finalize().into_bytes()[..SHOWN_BYTES] {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// Never shows the key.
impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_is_the_start_of_the_keyed_hash() {
        // RFC 4231, test case 2: 5bdcc146bf60754e6a042426089575c7...
        let names = Pseudonyms::new(b"Jefe");
        assert_eq!(
            names.of("what do ya want for nothing?"),
            "p:5bdcc146bf60754e"
        );
    }

    #[test]
    fn another_key_gives_another_pseudonym() {
        let (one, two) = (Pseudonyms::new(b"one"), Pseudonyms::new(b"two"));
        assert_eq!(one.of("alice@example.com"), one.of("alice@example.com"));
        assert_ne!(one.of("alice@example.com"), two.of("alice@example.com"));
    }

    #[test]
    fn debug_output_hides_the_key() {
        assert_eq!(
            format!("{:?}", Pseudonyms::new(b"secret")),
            "Pseudonyms(..)"
        );
    }
}
