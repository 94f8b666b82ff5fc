//! The network of a company: a proxy that opens TLS, with an authority of its own.

use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::cloudwatch::CloudWatch;
use crate::harness::{Daemon, Place, until};

/// A host that exists in no name system: only through the proxy something answers for it.
pub(crate) const HOST: &str = "aws.company.test";

/// A proxy that takes `CONNECT`, speaks for any host with its own certificate, and passes what it
/// reads to one server.
pub(crate) struct Proxy {
    pub(crate) url: String,
    /// The certificate of its authority.
    pub(crate) pem: String,
    /// What was asked for, `HOST:PORT` each.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) async fn start(behind: &str) -> Self {
        let behind = behind.strip_prefix("http://").unwrap().to_owned();
        let (pem, tls) = certificates();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (seen, tls, behind) = (seen.clone(), tls.clone(), behind.clone());
                // Clients that trust nobody hang up in the middle: that is their right.
                tokio::spawn(async move { pass(client, &seen, tls, &behind).await });
            }
        });
        Self { url, pem, asked }
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The authority, and what the proxy shows for the host.
fn certificates() -> (String, TlsAcceptor) {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let host = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    let certificate = host.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (pem, TlsAcceptor::from(Arc::new(config)))
}

async fn pass(
    mut client: TcpStream,
    seen: &Mutex<Vec<String>>,
    tls: TlsAcceptor,
    behind: &str,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split(' ');
    let target = match (words.next(), words.next()) {
        (Some("CONNECT"), Some(target)) => target.to_owned(),
        _ => format!("not CONNECT: {head}"),
    };
    seen.lock().unwrap().push(target);
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let mut inside = tls.accept(client).await?;
    let mut server = TcpStream::connect(behind).await?;
    tokio::io::copy_bidirectional(&mut inside, &mut server).await?;
    Ok(())
}

/// A daemon that reaches AWS at `url`, with further variables.
async fn daemon(place: &Arc<Place>, url: &str, variables: &[(&str, &str)]) -> Daemon {
    place.configure(&format!(
        "[aws]\nendpoint_url = \"{url}\"\nregion = \"eu-central-1\"\n\
         [cloudwatch]\nenabled = true\ninterval = \"10s\"\n"
    ));
    let mut command = place.command(&["run"]);
    let keys = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    command.envs(keys).envs(variables.iter().copied());
    place.spawn(&mut command).await
}

/// Waits for what `/readyz` says of AWS, once it is what is looked for.
async fn told(daemon: &Daemon, wanted: &str) {
    until(wanted, async || {
        let ready = daemon.json("/readyz").await;
        let conditions = ready["conditions"].as_array().unwrap();
        let aws = conditions
            .iter()
            .find(|condition| condition["name"] == "aws")?;
        aws["detail"]
            .as_str()
            .unwrap()
            .contains(wanted)
            .then_some(())
    })
    .await;
}

async fn delivered(daemon: &Daemon) {
    until("delivered datapoints", async || {
        let labels = [("result", "delivered")];
        let scrape = daemon.scrape().await;
        (scrape.sum("tallyd_cloudwatch_datapoints_total", &labels) >= 7.0).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs moto"]
async fn aws_is_reached_through_the_proxy_and_trusted_by_the_companys_authority() {
    let folder = tempfile::tempdir().unwrap();
    let front = CloudWatch::start(folder.path()).await;
    let proxy = Proxy::start(&front.url).await;
    let place = Place::new();
    let bundle = place.write("authority.pem", &proxy.pem);
    let bundle = bundle.to_str().unwrap();
    let url = format!("https://{HOST}");
    let through = ("HTTPS_PROXY", proxy.url.as_str());
    let now = crate::cloudwatch::this_minute();
    for (variable, minute) in [("AWS_CA_BUNDLE", now - 20), ("SSL_CERT_FILE", now - 10)] {
        crate::cloudwatch::seed(&place, minute..minute + 1).await;
        let daemon = daemon(&place, &url, &[through, (variable, bundle)]).await;
        told(&daemon, "ready in eu-central-1").await;
        delivered(&daemon).await;
        assert!(daemon.stop().await.success());
    }
    let asked = proxy.asked();
    assert!(!asked.is_empty());
    assert!(
        asked.iter().all(|target| *target == format!("{HOST}:443")),
        "{asked:?}"
    );
}

#[tokio::test]
#[ignore = "needs moto"]
async fn an_authority_that_nobody_trusts_is_told_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let front = CloudWatch::start(folder.path()).await;
    let proxy = Proxy::start(&front.url).await;
    let place = Place::new();
    let now = crate::cloudwatch::this_minute();
    crate::cloudwatch::seed(&place, now - 20..now - 19).await;
    let url = format!("https://{HOST}");
    let daemon = daemon(&place, &url, &[("HTTPS_PROXY", &proxy.url)]).await;
    told(&daemon, "HTTPS_PROXY, NO_PROXY and AWS_CA_BUNDLE").await;
    let scrape = daemon.scrape().await;
    let labels = [("action", "cloudwatch:PutMetricData")];
    assert_eq!(scrape.sum("tallyd_aws_problem", &labels), 1.0);
    assert!(front.calls().await.is_empty());
}

#[tokio::test]
#[ignore = "needs moto"]
async fn what_no_proxy_names_is_reached_directly() {
    let folder = tempfile::tempdir().unwrap();
    let front = CloudWatch::start(folder.path()).await;
    let proxy = Proxy::start(&front.url).await;
    let place = Place::new();
    let now = crate::cloudwatch::this_minute();
    crate::cloudwatch::seed(&place, now - 20..now - 19).await;
    let variables = [
        ("HTTPS_PROXY", proxy.url.as_str()),
        ("HTTP_PROXY", proxy.url.as_str()),
        ("NO_PROXY", "localhost,127.0.0.1"),
    ];
    let daemon = daemon(&place, &front.url, &variables).await;
    delivered(&daemon).await;
    assert_eq!(proxy.asked(), Vec::<String>::new());
}
