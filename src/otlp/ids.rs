//! Identities of facts: hashes that are equal for the same fact, however often and in whichever
//! encoding it is sent.
//!
//! SHA-256, cut to 128 bits: stable over versions and machines, and a sender cannot make two
//! facts collide to hide one. A short event costs two blocks.

use std::fmt::Write as _;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::key::Key;
use super::value::{Attributes, Value};

/// What tells one fact from another.
pub(super) type Id = [u8; 16];

/// A hash under construction. Every part carries its length, so that parts cannot run together.
#[derive(Clone, Debug)]
pub(super) struct Hash(Sha256);

impl Hash {
    /// Starts a hash of one kind of fact; hashes of different kinds never meet.
    pub(super) fn of(kind: &str) -> Self {
        let mut hash = Self(Sha256::new());
        hash.text(kind);
        hash
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }

    fn number(&mut self, number: usize) {
        self.whole(u64::try_from(number).unwrap_or(u64::MAX));
    }

    pub(super) fn whole(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    pub(super) fn time(&mut self, at: Timestamp) {
        self.0.update(at.as_nanosecond().to_le_bytes());
    }

    /// Adds attributes in the order of their keys, all but one if told so.
    pub(super) fn attributes(&mut self, attributes: &Attributes<'_>, but: Option<Key>) {
        let but = but.map(Key::name);
        let list = attributes.list().iter();
        let mut sorted: Vec<_> = list.filter(|(key, _)| Some(key.as_ref()) != but).collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        self.number(sorted.len());
        for (key, value) in sorted {
            self.text(key);
            self.value(value);
        }
    }

    pub(super) fn value(&mut self, value: &Value<'_>) {
        match value {
            Value::Absent => self.0.update([0]),
            Value::Text(text) => {
                self.0.update([1]);
                self.text(text);
            }
            Value::Bool(flag) => self.0.update([2, u8::from(*flag)]),
            Value::Int(number) => {
                self.0.update([3]);
                self.0.update(number.to_le_bytes());
            }
            Value::Double(number) => {
                self.0.update([4]);
                self.0.update(number.to_bits().to_le_bytes());
            }
            Value::Bytes(bytes) => {
                self.0.update([5]);
                self.bytes(bytes);
            }
            Value::List(list) => {
                self.0.update([6]);
                self.number(list.len());
                for value in list {
                    self.value(value);
                }
            }
            Value::Map(pairs) => {
                self.0.update([7]);
                self.number(pairs.len());
                for (key, value) in pairs {
                    self.text(key);
                    self.value(value);
                }
            }
            Value::Bad => self.0.update([8]),
        }
    }

    pub(super) fn finish(self) -> Id {
        let digest = self.0.finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        id
    }
}

/// The id as text, for records.
pub(super) fn hex(id: &Id) -> Box<str> {
    let mut text = String::with_capacity(32);
    let _ = write!(text, "{:032x}", u128::from_be_bytes(*id));
    text.into()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn hash(pairs: &[(&str, Value<'_>)]) -> Id {
        let mut attributes = Attributes::default();
        for (key, value) in pairs {
            attributes.push(Cow::Owned((*key).to_owned()), value.clone());
        }
        let mut hash = Hash::of("test");
        hash.attributes(&attributes, None);
        hash.finish()
    }

    #[test]
    fn the_order_of_attributes_does_not_matter() {
        let (a, b) = (Value::Int(1), Value::Text("x".into()));
        let one = hash(&[("a", a.clone()), ("b", b.clone())]);
        assert_eq!(one, hash(&[("b", b), ("a", a)]));
    }

    #[test]
    fn values_do_not_run_together() {
        let text = |text: &'static str| Value::Text(text.into());
        let one = hash(&[("k", text("ab")), ("l", text("c"))]);
        assert_ne!(one, hash(&[("k", text("a")), ("l", text("bc"))]));
        assert_ne!(hash(&[("k", Value::Int(1))]), hash(&[("k", text("1"))]));
    }

    #[test]
    fn an_id_is_written_as_32_hex_digits() {
        let mut id = [0; 16];
        id[0] = 0x0a;
        id[15] = 0xff;
        assert_eq!(&*hex(&id), "0a0000000000000000000000000000ff");
    }
}
