//! Objects in S3 and in folders: opening the place, reading one object.

use std::io::{BufReader, Read as _};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use futures_util::future::BoxFuture;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::sync::mpsc;

use super::decode::{self, Told};
use super::entry::{Entry, Skip};
use super::listing::{Found, body_beside};
use crate::aws::{self, Aws, Permission};
use crate::config::{Account, BedrockLogs, LogKind, LogSource};
use crate::store::NO_HOUR;

/// Largest object, packed: it is in memory while it is read. Bedrock closes one after minutes.
pub const MAX_OBJECT: u64 = 256 << 20;

/// Most bytes of the body of an answer after unpacking.
const MAX_BODY: u64 = 64 << 20;

/// Chunks of requests that wait for whoever takes them.
const WAITING_CHUNKS: usize = 2;

/// Why a log cannot be read now. It is due again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// Takes requests, chunk by chunk.
pub trait Sink: Send {
    /// Takes a chunk. After an error nothing more comes.
    fn take(&mut self, entries: Vec<Entry>) -> BoxFuture<'_, Result<(), Failure>>;
}

/// A log in objects.
#[derive(Clone, Debug)]
pub struct Place {
    pub(super) store: Arc<dyn ObjectStore>,
    pub prefix: Path,
    /// The bucket, for what it takes to be allowed; `None` for a folder.
    bucket: Option<String>,
    aws: Aws,
}

/// What becomes of requests on their way.
pub(super) enum Event {
    Requests(Vec<Entry>),
    End(Told),
}

impl Place {
    /// Opens a bucket or folder; `None` for a log group.
    ///
    /// Errors: AWS cannot be used, or the folder is not there.
    pub async fn open(
        source: &LogSource,
        accounts: &[Account],
        aws: &Aws,
    ) -> Result<Option<Self>, Failure> {
        let (store, prefix, bucket): (Arc<dyn ObjectStore>, _, _) = match &source.kind {
            LogKind::Group(_) => return Ok(None),
            LogKind::Folder(path) => {
                let store = LocalFileSystem::new_with_prefix(path).map_err(|error| {
                    let path = path.display();
                    Failure(format!(
                        "cannot open the folder {path} ({error}): is it there?"
                    ))
                })?;
                (Arc::new(store), Path::default(), None)
            }
            LogKind::S3 { bucket, prefix } => {
                let account = account_of(source, accounts);
                let region = region_of(source, account);
                let store = aws.bucket(account, region, bucket).await;
                let store = store.map_err(|trouble| Failure(trouble.to_string()))?;
                let prefix = Path::parse(prefix).map_err(|error| {
                    Failure(format!("{prefix} cannot be the prefix of keys ({error})"))
                })?;
                (Arc::new(store), prefix, Some(bucket.clone()))
            }
        };
        Ok(Some(Self {
            store,
            prefix,
            bucket,
            aws: aws.clone(),
        }))
    }

    /// All objects that may be logs.
    pub async fn all(&self) -> Result<Vec<Found>, Failure> {
        let listed = super::listing::all(&self.store, &self.prefix).await;
        self.noted(Call::List, listed)
    }

    /// One object by its name.
    pub async fn one(&self, name: &str) -> Result<Found, Failure> {
        let path = Path::parse(name)
            .map_err(|error| Failure(format!("{name} cannot be a key ({error})")))?;
        let head = self.noted(Call::Get, self.store.head(&path).await)?;
        Found::new(&head, NO_HOUR).ok_or_else(|| Failure(format!("{name} is empty")))
    }

    /// The objects of some hours, both included.
    pub(super) async fn list(&self, from: i64, to: i64) -> Result<Vec<Found>, Failure> {
        let listed = super::listing::list(&self.store, &self.prefix, from, to).await;
        self.noted(Call::List, listed)
    }

    /// Reads an object and hands on its requests, in chunks. What is damaged is told at the end.
    ///
    /// Errors: it cannot be had now.
    pub async fn read(
        &self,
        found: &Found,
        config: &BedrockLogs,
        sink: &mut dyn Sink,
    ) -> Result<Told, Failure> {
        if found.size > MAX_OBJECT {
            let megabytes = MAX_OBJECT >> 20;
            let damage = Some(format!(
                "it is larger than {megabytes} MiB and was not read"
            ));
            return Ok(Told {
                damage,
                ..Told::default()
            });
        }
        let bytes = self.get(&found.path).await?;
        let (sender, mut events) = mpsc::channel(WAITING_CHUNKS);
        let wanted = config.clone();
        // The thread ends by itself when nobody takes any more.
        tokio::task::spawn_blocking(move || unpack(&bytes, &wanted, &sender));
        let mut without = 0_u64;
        while let Some(event) = events.recv().await {
            match event {
                Event::Requests(entries) => {
                    let (entries, lost) = self.complete(&found.path, entries).await?;
                    without += lost;
                    sink.take(entries).await?;
                }
                Event::End(mut told) => {
                    for _ in 0..without {
                        told.skip(Skip::NoTokens);
                    }
                    return Ok(told);
                }
            }
        }
        Err(Failure(format!("{} was not read to its end", found.path)))
    }

    /// Gets counts that records leave to the bodies of answers. Returns how many have none.
    async fn complete(
        &self,
        object: &Path,
        entries: Vec<Entry>,
    ) -> Result<(Vec<Entry>, u64), Failure> {
        let mut complete = Vec::with_capacity(entries.len());
        let mut lost = 0;
        for entry in entries {
            let Some(named) = &entry.counts_in else {
                complete.push(entry);
                continue;
            };
            let Some(beside) = body_beside(object, named) else {
                lost += 1;
                continue;
            };
            let got = match self.store.get(&beside).await {
                Ok(got) if got.meta.size <= MAX_BODY => got.bytes().await,
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {
                    lost += 1;
                    continue;
                }
                Err(error) => Err(error),
            };
            let body = self.noted(Call::Get, got)?;
            match entry.counted_by(&unpacked(&body)) {
                Ok(entry) => complete.push(entry),
                Err(_) => lost += 1,
            }
        }
        Ok((complete, lost))
    }

    async fn get(&self, path: &Path) -> Result<Bytes, Failure> {
        let got = match self.store.get(path).await {
            Ok(got) => got.bytes().await,
            Err(error) => Err(error),
        };
        self.noted(Call::Get, got)
    }

    fn noted<T>(&self, call: Call, result: object_store::Result<T>) -> Result<T, Failure> {
        match result {
            Ok(value) => {
                if let Some(bucket) = &self.bucket {
                    self.aws.note(&call.permission(bucket), Ok(()));
                }
                Ok(value)
            }
            Err(error) => Err(self.failed(call, &error)),
        }
    }

    fn failed(&self, call: Call, error: &object_store::Error) -> Failure {
        let failure = aws::s3_failure(error);
        let Some(bucket) = &self.bucket else {
            return Failure(failure.message);
        };
        let permission = call.permission(bucket);
        self.aws.note(&permission, Err(&failure));
        let mend = failure.mend(&permission);
        let mend = mend.map_or_else(String::new, |mend| format!("; {mend}"));
        Failure(format!("{}: {failure}{mend}", permission.action))
    }
}

/// What is asked of S3.
#[derive(Clone, Copy, Debug)]
enum Call {
    List,
    Get,
}

impl Call {
    fn permission(self, bucket: &str) -> Permission {
        match self {
            Self::List => Permission::on("s3:ListBucket", format!("arn:aws:s3:::{bucket}")),
            Self::Get => Permission::on("s3:GetObject", format!("arn:aws:s3:::{bucket}/*")),
        }
    }
}

/// The account that a source is in; `None` is tallyd's own.
pub(super) fn account_of<'a>(source: &LogSource, accounts: &'a [Account]) -> Option<&'a Account> {
    let id = source.account.as_ref()?;
    accounts.iter().find(|account| account.id == *id)
}

/// The region that a source is in, as far as the configuration tells.
pub(super) fn region_of<'a>(
    source: &'a LogSource,
    account: Option<&'a Account>,
) -> Option<&'a str> {
    let first = account.and_then(|account| account.regions.first());
    source.region.as_deref().or(first.map(String::as_str))
}

fn unpack(bytes: &[u8], config: &BedrockLogs, sender: &mpsc::Sender<Event>) {
    let told = decode::decode(bytes, config, |entries| {
        match sender.blocking_send(Event::Requests(entries)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    // Whoever took them may have gone.
    let _ = sender.blocking_send(Event::End(told));
}

/// The body of an answer, unpacked as far as its bound. What is damaged tells no counts.
fn unpacked(bytes: &[u8]) -> Vec<u8> {
    if !bytes.starts_with(&decode::GZIP) {
        return bytes.to_vec();
    }
    let mut body = Vec::new();
    let mut decoder = MultiGzDecoder::new(BufReader::new(bytes)).take(MAX_BODY);
    // What was unpacked before a fault is no whole document and will not be taken for one.
    let _ = decoder.read_to_end(&mut body);
    body
}
