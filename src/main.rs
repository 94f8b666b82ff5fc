//! Arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser as _;
use tallyd::cli::{self, Cli, USAGE};

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli::execute(cli.command),
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // Nothing can be said where standard error is closed.
            let _ = error.print();
            ExitCode::from(code)
        }
    }
}
