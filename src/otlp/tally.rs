//! Keeps account of one delivery: which item led to which facts, and what was refused.
//!
//! OTLP answers count log records and data points, while one of them may lead to several facts
//! or to none.

use std::collections::BTreeMap;

use crate::heard::{Delivery, Sender};
use crate::model::identity::Origin;
use crate::model::usage::{Receipt, Refusal, Verdict};

/// Reasons named in one answer at most.
const MAX_REASONS: usize = 3;

/// Senders told apart in one delivery at most; the rest is noted under the last of them.
const MAX_SENDERS: usize = 64;

/// One log record or data point that was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Item {
    sender: u16,
    origin: Origin,
    /// How many items of the delivery this stands for.
    weight: u32,
    fate: Fate,
}

/// What became of an item, from the least to the most telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// It led to no fact.
    Silent,
    Duplicate,
    Accepted,
    Rejected,
}

/// The account of one delivery.
#[derive(Debug, Default)]
pub(super) struct Tally {
    senders: Vec<(Sender, Delivery)>,
    items: Vec<Item>,
    /// For each record, point and activity of the intake the item it came from.
    records: Vec<u32>,
    points: Vec<u32>,
    activities: Vec<u32>,
    rejected: u64,
    reasons: Vec<String>,
}

/// What is told to the client and noted of its senders.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) rejected: u64,
    /// Why, in a sentence; empty if nothing was rejected.
    pub(super) message: String,
    pub(super) senders: Vec<(Sender, Delivery)>,
}

impl Tally {
    /// The index of a sender, for the items that follow.
    pub(super) fn sender(&mut self, sender: &Sender) -> u16 {
        let known = self.senders.iter().rposition(|(known, _)| known == sender);
        let index = known.unwrap_or_else(|| {
            if self.senders.len() < MAX_SENDERS {
                self.senders.push((sender.clone(), Delivery::default()));
            }
            self.senders.len() - 1
        });
        u16::try_from(index).unwrap_or_default()
    }

    /// Notes an item that was taken; facts added from now on belong to it.
    pub(super) fn take(&mut self, sender: u16, origin: Origin, weight: u32) {
        self.items.push(Item {
            sender,
            origin,
            weight,
            fate: Fate::Silent,
        });
    }

    fn current(&self) -> u32 {
        u32::try_from(self.items.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    pub(super) fn add_record(&mut self) {
        self.records.push(self.current());
    }

    pub(super) fn add_activity(&mut self) {
        self.activities.push(self.current());
    }

    pub(super) fn add_point(&mut self) {
        self.points.push(self.current());
    }

    /// Notes items that were refused at the door.
    pub(super) fn refuse(&mut self, sender: u16, refusal: Refusal, items: u64) {
        if let Some((_, delivery)) = self.senders.get_mut(usize::from(sender)) {
            *delivery.refused.entry(refusal.code.to_owned()).or_default() += items;
        }
        self.rejected += items;
        self.reason(refusal.message);
    }

    fn reason(&mut self, message: String) {
        if self.reasons.len() < MAX_REASONS && !self.reasons.contains(&message) {
            self.reasons.push(message);
        }
    }

    /// Adds the recorder's verdicts.
    pub(super) fn settle(mut self, receipt: Receipt) -> Settled {
        let mut codes = BTreeMap::new();
        let facts = [
            (std::mem::take(&mut self.records), receipt.records),
            (std::mem::take(&mut self.points), receipt.points),
            (std::mem::take(&mut self.activities), receipt.activities),
        ];
        for (owners, verdicts) in facts {
            for (owner, verdict) in owners.into_iter().zip(verdicts) {
                self.judge(owner, verdict, &mut codes);
            }
        }
        self.close(&codes)
    }

    fn judge(&mut self, owner: u32, verdict: Verdict, codes: &mut BTreeMap<u32, &'static str>) {
        let fate = match verdict {
            Verdict::Accepted => Fate::Accepted,
            Verdict::Duplicate => Fate::Duplicate,
            Verdict::Rejected(refusal) => {
                codes.entry(owner).or_insert(refusal.code);
                self.reason(refusal.message);
                Fate::Rejected
            }
        };
        let index = usize::try_from(owner).unwrap_or(usize::MAX);
        if let Some(item) = self.items.get_mut(index) {
            item.fate = item.fate.max(fate);
        }
    }

    fn close(mut self, codes: &BTreeMap<u32, &'static str>) -> Settled {
        for (owner, item) in (0_u32..).zip(&self.items) {
            let Some((_, delivery)) = self.senders.get_mut(usize::from(item.sender)) else {
                continue;
            };
            let weight = u64::from(item.weight);
            *delivery.origins.entry(item.origin).or_default() += weight;
            match item.fate {
                Fate::Accepted | Fate::Silent => delivery.accepted += weight,
                Fate::Duplicate => delivery.duplicates += weight,
                Fate::Rejected => {
                    self.rejected += weight;
                    let code = codes.get(&owner).copied().unwrap_or("rejected");
                    *delivery.refused.entry(code.to_owned()).or_default() += weight;
                }
            }
        }
        Settled {
            rejected: self.rejected,
            message: self.reasons.join("; "),
            senders: self.senders.into_iter().filter(has_news).collect(),
        }
    }
}

fn has_news((_, delivery): &(Sender, Delivery)) -> bool {
    let taken = delivery.accepted + delivery.duplicates;
    taken > 0 || !delivery.refused.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(client: &str) -> Sender {
        Sender {
            client: client.to_owned(),
            version: "1".to_owned(),
            signal: "logs",
            source: "events".to_owned(),
        }
    }

    fn refusal(message: &str) -> Refusal {
        Refusal {
            code: "negative",
            message: message.to_owned(),
        }
    }

    #[test]
    fn an_item_is_rejected_once_however_many_of_its_facts_are() {
        let mut tally = Tally::default();
        let index = tally.sender(&sender("claude-code"));
        tally.take(index, Origin::Email, 1);
        tally.add_record();
        tally.add_activity();
        tally.take(index, Origin::Device, 1);
        tally.add_activity();
        let receipt = Receipt {
            records: vec![Verdict::Rejected(refusal("tokens: bad"))],
            points: vec![],
            activities: vec![Verdict::Accepted, Verdict::Duplicate],
        };
        let settled = tally.settle(receipt);
        assert_eq!(settled.rejected, 1);
        assert_eq!(settled.message, "tokens: bad");
        let (_, delivery) = &settled.senders[0];
        assert_eq!((delivery.accepted, delivery.duplicates), (0, 1));
        assert_eq!(delivery.refused["negative"], 1);
    }

    #[test]
    fn an_answer_names_three_different_reasons_at_most() {
        let mut tally = Tally::default();
        let index = tally.sender(&sender("claude-code"));
        for n in 0..10 {
            tally.refuse(index, refusal(&format!("field {}: bad", n / 2)), 1);
        }
        let settled = tally.settle(Receipt::default());
        assert_eq!(settled.rejected, 10);
        assert_eq!(settled.message, "field 0: bad; field 1: bad; field 2: bad");
    }

    #[test]
    fn senders_of_one_delivery_are_bounded() {
        let mut tally = Tally::default();
        for n in 0..1000 {
            tally.sender(&sender(&format!("client{n}")));
        }
        assert_eq!(tally.senders.len(), MAX_SENDERS);
    }
}
