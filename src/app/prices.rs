//! The price files of the configuration.

use std::path::PathBuf;

use super::live::read;
use crate::config::{Cost, Faults};
use crate::model::price::{EMBEDDED, EMBEDDED_NAME, PriceTable, PriceText, lint};

/// Reads the price table that the configuration makes: the built-in one, the configured file above
/// it, and the contract.
pub fn table(cost: &Cost) -> anyhow::Result<PriceTable> {
    let files = PriceFiles::read(cost)?;
    PriceTable::load(&files.list(), files.contract()).map_err(|faults| {
        let lines = faults.iter().map(ToString::to_string);
        Faults(lines.collect()).into()
    })
}

/// What is allowed in the configured price files and still worth a look.
pub(super) fn warnings(cost: &Cost) -> anyhow::Result<Vec<String>> {
    let files = PriceFiles::read(cost)?;
    let mut warnings = Vec::new();
    if let Some((name, text)) = &files.prices {
        // Faults were told when the table was read.
        let notes = lint::file(text).unwrap_or_default();
        warnings.extend(notes.iter().map(|note| format!("{name}: {note}")));
    }
    Ok(warnings)
}

/// The configured price files, each with its name.
struct PriceFiles {
    prices: Option<(String, String)>,
    contract: Option<(String, String)>,
}

impl PriceFiles {
    fn read(cost: &Cost) -> anyhow::Result<Self> {
        let named = |file: &Option<PathBuf>| {
            let file = file.as_deref();
            file.map(|file| anyhow::Ok((file.display().to_string(), read(file)?)))
                .transpose()
        };
        Ok(Self {
            prices: named(&cost.prices)?,
            contract: named(&cost.contract)?,
        })
    }

    fn list(&self) -> Vec<PriceText<'_>> {
        let embedded = PriceText {
            name: EMBEDDED_NAME,
            text: EMBEDDED,
        };
        let own = self.prices.as_ref().map(text_of);
        [Some(embedded), own].into_iter().flatten().collect()
    }

    fn contract(&self) -> Option<PriceText<'_>> {
        self.contract.as_ref().map(text_of)
    }
}

fn text_of((name, text): &(String, String)) -> PriceText<'_> {
    PriceText { name, text }
}
