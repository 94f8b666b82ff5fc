//! Arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use tallyd::cli::{self, Cli, USAGE};

/// Small allocations are a quarter of the work of an answer with the system's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
