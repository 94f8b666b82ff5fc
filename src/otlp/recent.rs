//! A small memory of what was built a moment ago, so that the many alike items of a delivery
//! share one identity, model and label set.

/// Entries kept; the oldest makes room.
const KEPT: usize = 16;

/// The last few things built.
#[derive(Debug)]
pub(super) struct Recent<T> {
    entries: Vec<T>,
    oldest: usize,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            oldest: 0,
        }
    }
}

impl<T> Recent<T> {
    pub(super) fn find(&self, matches: impl Fn(&T) -> bool) -> Option<&T> {
        self.entries.iter().find(|entry| matches(entry))
    }

    pub(super) fn keep(&mut self, entry: T) {
        if self.entries.len() < KEPT {
            self.entries.push(entry);
            return;
        }
        self.entries[self.oldest] = entry;
        self.oldest = (self.oldest + 1) % KEPT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_makes_room() {
        let mut recent = Recent::default();
        for n in 0..=KEPT {
            recent.keep(n);
        }
        assert_eq!(recent.find(|entry| *entry == 0), None);
        assert_eq!(recent.find(|entry| *entry == 1), Some(&1));
        assert_eq!(recent.find(|entry| *entry == KEPT), Some(&KEPT));
    }
}
