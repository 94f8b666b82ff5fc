//! The set that a command is about: the daemon's own, unless other files are named.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Values, faulty, read};
use crate::alarm::{self, AlarmSet, BUILT_IN_NAME};
use crate::cli::ConfigFile;
use crate::config::Config;

/// Which alarms.
#[derive(Args, Debug)]
pub(super) struct Chosen {
    /// CloudFormation templates, or folders of them; without any: those of the configuration, as
    /// the daemon has them.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    values: Values,
    #[command(flatten)]
    config: ConfigFile,
}

impl Chosen {
    /// The name of the set (that of the first file or folder, without its ending), the set, and
    /// the configuration. Faults of either end a command with 64.
    pub(super) fn read(self) -> anyhow::Result<(String, AlarmSet, Config)> {
        let mut config = self.config.clone().source().load()?;
        let set = if self.files.is_empty() {
            config.alarms.parameters.extend(self.values.parameters);
            alarm::load(&config).map_err(|faults| faulty(&faults))?.set
        } else {
            read(&self.files, &self.values, &self.config)?.set
        };
        let mut files = self.files.iter().chain(&config.alarms.files);
        let name = name(
            files
                .next()
                .map_or(Path::new(BUILT_IN_NAME), PathBuf::as_path),
        );
        Ok((name, set, config))
    }
}

fn name(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy());
    stem.map_or_else(|| "alarms".to_owned(), Cow::into_owned)
}
