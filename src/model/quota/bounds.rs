//! The window of a counter.

use std::ops::{Deref, Range};
use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A window, half-open, and how it reads: every answer tells it, and it seldom changes.
#[derive(Debug)]
pub struct Bounds {
    range: Range<Timestamp>,
    texts: OnceLock<Range<Box<str>>>,
}

impl Bounds {
    pub(super) const fn new(range: Range<Timestamp>) -> Self {
        Self {
            range,
            texts: OnceLock::new(),
        }
    }

    /// Start and end as RFC 3339 to the second, in the zone of whoever asks first: that of the
    /// policy.
    pub fn texts(&self, zone: &TimeZone) -> &Range<Box<str>> {
        self.texts.get_or_init(|| {
            let text = |at: Timestamp| {
                // The ends of rolling windows have parts of seconds that nobody needs.
                let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
                let text = at.display_with_offset(zone.to_offset(at)).to_string();
                text.into_boxed_str()
            };
            text(self.range.start)..text(self.range.end)
        })
    }
}

impl Deref for Bounds {
    type Target = Range<Timestamp>;

    fn deref(&self) -> &Self::Target {
        &self.range
    }
}

impl PartialEq for Bounds {
    fn eq(&self, other: &Self) -> bool {
        self.range == other.range
    }
}

impl Eq for Bounds {}
