//! tallyd's own log: `tracing`, as text or JSON lines on standard error.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use crate::config::{Format, Log};

/// Changes the level while tallyd runs.
#[derive(Clone, Debug)]
pub struct LevelSwitch(reload::Handle<EnvFilter, Registry>);

impl LevelSwitch {
    /// Sets a level or directives that the configuration has checked.
    pub fn set(&self, level: &str) -> anyhow::Result<()> {
        let filter = EnvFilter::try_new(level).context("cannot read log.level")?;
        self.0.reload(filter).context("cannot change the log level")
    }
}

/// Makes the log of the process. It can be made once.
pub fn install(log: &Log) -> anyhow::Result<LevelSwitch> {
    let (subscriber, switch) = subscriber(log, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).context("cannot set up the log")?;
    Ok(switch)
}

/// The log of a configuration, written to `writer`, not yet that of the process.
pub(crate) fn subscriber<W>(
    log: &Log,
    writer: W,
) -> anyhow::Result<(Box<dyn Subscriber + Send + Sync>, LevelSwitch)>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&log.level).context("cannot read log.level")?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match log.format {
        Format::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    let subscriber = Registry::default().with(filter).with(lines);
    Ok((Box::new(subscriber), LevelSwitch(handle)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, log: impl FnOnce(&LevelSwitch)) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let settings = Log {
            format,
            level: "info".to_owned(),
        };
        let (subscriber, switch) = subscriber(&settings, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || log(&switch));
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_have_the_fields_at_the_top() {
        let text = logged(Format::Json, |_| {
            tracing::info!(http = %"127.0.0.1:1", "listening");
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["level"], &line["message"], &line["http"]),
            (&"INFO".into(), &"listening".into(), &"127.0.0.1:1".into())
        );
    }

    #[test]
    fn the_level_changes_while_running() {
        let text = logged(Format::Text, |switch| {
            tracing::debug!("first");
            switch.set("debug").unwrap();
            tracing::debug!("second");
        });
        assert!(!text.contains("first") && text.contains("second"), "{text}");
    }
}
