//! Brings finished reports to a folder, to S3 or to a webhook.

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use object_store::path::Path as Key;
use object_store::{Attribute, Attributes, ObjectStore as _, PutOptions};
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;

use super::Report;
use super::write::{self, Form, ManifestPlace, Shown};
use crate::aws::{Aws, Trouble};
use crate::config::{Destination, Secret};
use crate::notify;

/// Time for one file to be taken by a webhook.
const WEBHOOK_TIMEOUT: Duration = Duration::from_mins(2);

/// One file of a delivery.
#[derive(Clone, Debug)]
pub struct File {
    pub name: String,
    pub report: Arc<Report>,
    pub shown: Arc<Shown>,
    pub form: Form,
    pub manifest: ManifestPlace,
}

impl File {
    fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        write::write(&self.report, &self.shown, self.form, self.manifest, out)
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
        Ok(bytes)
    }

    const fn content_type(&self) -> &'static str {
        match self.manifest {
            ManifestPlace::Only => Form::Json.content_type(),
            ManifestPlace::Leading | ManifestPlace::Separate => self.form.content_type(),
        }
    }
}

/// Why a report did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    #[error("cannot write {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot make {name}")]
    Make {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("S3 cannot be used")]
    Aws(#[source] Trouble),
    #[error("S3 does not take {key}")]
    S3 {
        key: String,
        #[source]
        source: object_store::Error,
    },
    /// Without the address: it may be a secret.
    #[error("the webhook was not reached")]
    Unreached(#[source] reqwest::Error),
    #[error("the webhook answered {status} to {name}")]
    Refused { name: String, status: u16 },
    #[error("writing was interrupted")]
    Interrupted,
}

/// The ways out.
#[derive(Clone, Debug)]
pub struct Ways {
    pub aws: Aws,
    pub client: Client,
}

impl Ways {
    /// Brings all files to their place. Each is there whole or not at all; what is there under its
    /// name already is replaced.
    pub async fn deliver(
        &self,
        files: Vec<File>,
        to: &Destination,
        now: Timestamp,
    ) -> Result<(), DeliverError> {
        match to {
            Destination::Folder(folder) => {
                let folder = folder.clone();
                let written = tokio::task::spawn_blocking(move || to_folder(&files, &folder));
                written.await.map_err(|_| DeliverError::Interrupted)?
            }
            Destination::S3 {
                bucket,
                prefix,
                region,
            } => {
                // At the start the first look for credentials is still under way.
                self.aws.looked(now).await;
                let bucket = self.aws.bucket(None, region.as_deref(), bucket).await;
                let bucket = bucket.map_err(DeliverError::Aws)?;
                for file in files {
                    let (name, kind) = (file.name.clone(), file.content_type());
                    let bytes = made(file).await?;
                    let key: Key = prefix.split('/').chain([&*name]).collect();
                    let attributes = Attributes::from_iter([(Attribute::ContentType, kind)]);
                    let options = PutOptions::from(attributes);
                    let put = bucket.put_opts(&key, bytes.into(), options).await;
                    put.map_err(|source| DeliverError::S3 {
                        key: key.to_string(),
                        source,
                    })?;
                }
                Ok(())
            }
            Destination::Webhook { url, secret } => {
                for file in files {
                    self.post(file, url, secret.as_ref(), now).await?;
                }
                Ok(())
            }
        }
    }

    async fn post(
        &self,
        file: File,
        url: &Secret<reqwest::Url>,
        secret: Option<&Secret<String>>,
        now: Timestamp,
    ) -> Result<(), DeliverError> {
        let (name, kind) = (file.name.clone(), file.content_type());
        // The same for every attempt, and another one once the numbers are others.
        let id = format!("{}/{name}", file.shown.stamp.report_id);
        let bytes = made(file).await?;
        let mut request = self
            .client
            .post(url.expose().clone())
            .timeout(WEBHOOK_TIMEOUT)
            .header(CONTENT_TYPE, kind)
            .header("x-tallyd-file", &name)
            .header("x-tallyd-id", id);
        if let Some(secret) = secret {
            let timestamp = now.as_second().to_string();
            let signature = notify::signature(secret.expose(), &timestamp, &bytes);
            request = request
                .header(notify::TIMESTAMP, timestamp)
                .header(notify::SIGNATURE, signature);
        }
        let answer = request.body(bytes).send().await;
        let answer = answer.map_err(|error| DeliverError::Unreached(error.without_url()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(DeliverError::Refused {
            name,
            status: status.as_u16(),
        })
    }
}

/// Makes a file in memory, beside the work of others.
async fn made(file: File) -> Result<Vec<u8>, DeliverError> {
    let name = file.name.clone();
    let made = tokio::task::spawn_blocking(move || file.bytes());
    let made = made.await.map_err(|_| DeliverError::Interrupted)?;
    made.map_err(|source| DeliverError::Make { name, source })
}

/// Writes each file beside its place, flushes it, and gives it its name.
fn to_folder(files: &[File], folder: &Path) -> Result<(), DeliverError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| DeliverError::File { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    for file in files {
        let path = folder.join(&file.name);
        let part = folder.join(format!(".{}.part", file.name));
        let written = write_through(file, &part).and_then(|()| std::fs::rename(&part, &path));
        if written.is_err() {
            // What is half written is of no use; the error tells why.
            let _ = std::fs::remove_file(&part);
        }
        written.map_err(failed(&path))?;
    }
    // The names, too: else a file could be gone after a power cut that is noted as delivered.
    let names = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    names.map_err(failed(folder))
}

fn write_through(file: &File, path: &Path) -> io::Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    file.write(&mut out)?;
    out.flush()?;
    out.get_ref().sync_all()
}
