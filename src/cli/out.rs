//! What commands print. A reader that is gone, as behind `| head`, is no fault: the command goes on and
//! ends with its own code. A disk that is full is one.

use std::fmt::{Arguments, Display};
use std::io::{self, ErrorKind, StdoutLock, Write};

/// Nothing can be printed any more.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(super) struct Unwritten(#[source] io::Error);

/// Prints a text as it is.
pub(super) fn print(text: impl Display) -> Result<(), Unwritten> {
    written(format_args!("{text}"))
}

/// Prints a line.
pub(super) fn println(line: impl Display) -> Result<(), Unwritten> {
    written(format_args!("{line}\n"))
}

fn written(text: Arguments<'_>) -> Result<(), Unwritten> {
    let mut out = io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Unwritten(error)),
        _ => Ok(()),
    }
}

/// Says a line beside the output. Nothing can be said where standard error is closed.
pub(super) fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// True if a command ended because nobody reads what comes in pieces any more.
pub(super) fn is_closed(error: &anyhow::Error) -> bool {
    let mut within = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>()?.get_ref());
    within.any(|inner| {
        let unwritten = inner.downcast_ref::<Unwritten>();
        unwritten.is_some_and(|Unwritten(error)| error.kind() == ErrorKind::BrokenPipe)
    })
}

/// Standard output for what comes in pieces; its errors can be told from those of a connection.
#[derive(Debug)]
pub(super) struct Stdout(StdoutLock<'static>);

impl Stdout {
    pub(super) fn lock() -> Self {
        Self(io::stdout().lock())
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(own)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(own)
    }
}

fn own(error: io::Error) -> io::Error {
    // What was only interrupted is written again.
    match error.kind() {
        ErrorKind::Interrupted => error,
        _ => io::Error::other(Unwritten(error)),
    }
}
