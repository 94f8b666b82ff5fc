//! Limits that a single ordinary request does not fit in.

use super::{Bound, Policy, Usage};

/// What an agent's request holds on a usual day: a prompt that mostly comes from the cache, and
/// the maximum output that Claude Code asks for.
const TYPICAL: Usage = Usage {
    input: 3_000,
    output: 32_000,
    cache_read: 30_000,
    cache_write: 0,
    requests: 1,
    cost: 0,
};

impl Policy {
    /// A sentence for each limit, unless it is 0, that is smaller than a typical request.
    #[must_use]
    pub fn narrow_limits(&self) -> Vec<String> {
        let mut narrow = Vec::new();
        for limit in &self.limits {
            let Bound::At(bound) = limit.bound else {
                continue;
            };
            let typical = TYPICAL.amount(limit.unit, &self.weights);
            if bound > 0 && bound < typical {
                let grains = self.weights.grains(limit.unit);
                let (bound, typical) = (bound / grains, typical / grains);
                let (name, unit) = (&limit.name, limit.unit.name());
                narrow.push(format!(
                    "the limit {name} of {bound} {unit} is smaller than one request of an agent \
                     usually holds, {typical}"
                ));
            }
        }
        narrow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guides_figures_are_told_and_the_examples_fit() {
        let guide = include_str!("../../../tests/fixtures/policies/guide.toml");
        let guide = Policy::parse(guide).expect("the fixture is a policy");
        assert_eq!(
            guide.narrow_limits(),
            [
                "the limit role-developer-day of 50000 weighted_tokens is smaller than one \
                 request of an agent usually holds, 65000",
                "the limit role-viewer-day of 10000 weighted_tokens is smaller than one request \
                 of an agent usually holds, 65000",
            ]
        );
        let example = include_str!("../../../deploy/policies/example.toml");
        let example = Policy::parse(example).expect("the example is a policy");
        assert_eq!(example.narrow_limits(), [""; 0]);
    }
}
