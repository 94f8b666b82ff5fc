//! `[aws]`: how Amazon Web Services are reached, and which other accounts are read.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use toml::Value;

use super::reader::{Converted, Problem, Reader, must_be};
use super::setting::{Section, Setting};
use super::value::{Row, duration, path, rows, text};

/// How AWS is reached. What is left open here, the SDK takes from its own variables and files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    pub region: Option<String>,
    /// A profile of `~/.aws/config` and `~/.aws/credentials`.
    pub profile: Option<String>,
    /// One address for all services.
    pub endpoint_url: Option<Url>,
    /// For one attempt, from its begin to the end of the answer.
    pub timeout: Duration,
    /// For TCP and TLS; less than `timeout`.
    pub connect_timeout: Duration,
    /// Authorities that are trusted beside those of the system.
    pub authorities: Option<Authorities>,
    pub accounts: Vec<Account>,
}

/// A PEM file with certificates of authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    pub file: PathBuf,
    /// Its content, with at least one certificate.
    pub pem: Vec<u8>,
}

/// Another account that is read through a role in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    /// The ARN of the role to assume.
    pub role: String,
    pub external_id: Option<String>,
    /// Empty: the region of `[aws]`.
    pub regions: Vec<String>,
}

/// Names, TLS and a distant region take longer than this only when something is wrong.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) const SECTION: Section = Section {
    name: "aws",
    help: "How AWS is reached. What is left empty is taken from the SDK's own variables and files \
           (AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL, roles of the instance, task or pod). \
           HTTPS_PROXY and NO_PROXY hold.",
    settings: &[
        Setting::new("region", r#""""#, "Region such as eu-central-1."),
        Setting::new(
            "profile",
            r#""""#,
            "Profile in ~/.aws/config and ~/.aws/credentials.",
        ),
        Setting::new(
            "endpoint_url",
            r#""""#,
            "One address for all services, such as http://127.0.0.1:5000 for a test server.",
        ),
        Setting::new(
            "timeout",
            r#""10s""#,
            "For one attempt of a call, the answer included.",
        ),
        Setting::new(
            "connect_timeout",
            r#""3s""#,
            "For a connection, TLS included; less than timeout.",
        ),
        Setting::new(
            "ca_bundle",
            r#""""#,
            "PEM file with authorities to trust beside the system's. Empty: $AWS_CA_BUNDLE.",
        ),
        Setting::new(
            "accounts",
            "[]",
            "Other accounts to read, each through a role. Without regions the region above is read.",
        )
        .example(
            "[[aws.accounts]]\n\
             id = \"111122223333\"\n\
             role = \"arn:aws:iam::111122223333:role/tallyd-read\"\n\
             external_id = \"\"\n\
             regions = [\"us-east-1\", \"eu-central-1\"]",
        ),
    ],
};

pub(super) fn read(reader: &mut Reader<'_>) -> Aws {
    let mut section = reader.section(&SECTION);
    let region = section.get("region", region);
    let profile = section.optional_text("profile");
    let endpoint_url = section.get("endpoint_url", endpoint_url);
    let timeout = section.get("timeout", |value| duration(value, SHORTEST_TIMEOUT));
    let connect_timeout = section.get("connect_timeout", |value| duration(value, SHORTEST_TIMEOUT));
    if connect_timeout >= timeout {
        // Otherwise a failed connection would look like an answer that got lost.
        let shown = humantime::format_duration(timeout);
        section.fault(
            "connect_timeout",
            &format!("must be less than aws.timeout ({shown})"),
        );
    }
    let named = section.get("ca_bundle", path);
    let variable = section.environment().get("AWS_CA_BUNDLE");
    let variable = variable.filter(|file| !file.is_empty()).map(PathBuf::from);
    let origin = if named.is_some() {
        ""
    } else {
        " (from AWS_CA_BUNDLE)"
    };
    let authorities = match named.or(variable).map(authorities) {
        Some(Err(message)) => {
            section.fault("ca_bundle", &format!("{message}{origin}"));
            None
        }
        Some(Ok(authorities)) => Some(authorities),
        None => None,
    };
    Aws {
        region,
        profile,
        endpoint_url,
        timeout,
        connect_timeout,
        authorities,
        accounts: section.get("accounts", accounts),
    }
}

fn region(value: &Value) -> Converted<Option<String>> {
    let region = text(value)?;
    if region.is_empty() {
        return Ok(None);
    }
    if is_region(&region) {
        return Ok(Some(region));
    }
    must_be("a region such as eu-central-1", value)
}

/// Regions become part of host names.
pub(super) fn is_region(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.starts_with('-') && !text.ends_with('-') && text.chars().all(plain)
}

fn endpoint_url(value: &Value) -> Converted<Option<Url>> {
    let text = text(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Some(url)),
        _ => must_be("a URL such as http://127.0.0.1:5000", value),
    }
}

fn authorities(file: PathBuf) -> Result<Authorities, String> {
    let shown = file.display();
    let pem = std::fs::read(&file).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => {}
        _ => return Err(format!("{shown} must hold certificates in PEM form")),
    }
    Ok(Authorities { file, pem })
}

fn accounts(value: &Value) -> Converted<Vec<Account>> {
    let accounts = rows(value, account)?;
    for (index, account) in accounts.iter().enumerate() {
        let same = |other: &Account| other.role == account.role;
        if accounts[..index].iter().any(same) {
            let message = format!("{} is there twice", account.role);
            return Err(vec![Problem::new(format!("[{index}].role"), message)]);
        }
    }
    Ok(accounts)
}

fn account(row: &mut Row<'_>) -> Option<Account> {
    let id = row.required("id");
    let role = row.required("role");
    let external_id = row.optional("external_id");
    let regions = row.texts("regions");
    for (index, region) in regions.iter().enumerate() {
        if !is_region(region) {
            let message = "must be a region such as eu-central-1";
            row.problem(&format!("regions[{index}]"), message);
        }
    }
    let (id, role) = (id?, role?);
    if id.len() != 12 || !id.bytes().all(|digit| digit.is_ascii_digit()) {
        row.problem("id", "must be twelve digits in quotes");
    } else if !is_role_of(&role, &id) {
        let message = format!("must be the ARN of a role in {id}: arn:aws:iam::{id}:role/NAME");
        row.problem("role", &message);
    }
    Some(Account {
        id,
        role,
        external_id,
        regions,
    })
}

/// `arn:PARTITION:iam::ID:role/NAME`; the partition differs in China and for governments.
fn is_role_of(arn: &str, id: &str) -> bool {
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let [scheme, partition, service, region, account, resource] = parts[..] else {
        return false;
    };
    let named = resource
        .strip_prefix("role/")
        .is_some_and(|name| !name.is_empty());
    scheme == "arn"
        && partition.starts_with("aws")
        && (service, region, account) == ("iam", "", id)
        && named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    fn faults(text: &str) -> Vec<String> {
        Config::parse(text, &Environment::default()).unwrap_err().0
    }

    #[test]
    fn a_role_is_one_of_the_account() {
        let id = "111122223333";
        assert!(is_role_of("arn:aws:iam::111122223333:role/a/tallyd", id));
        assert!(is_role_of("arn:aws-cn:iam::111122223333:role/tallyd", id));
        assert!(!is_role_of("arn:aws:iam::444455556666:role/tallyd", id));
        assert!(!is_role_of("tallyd", id));
    }

    #[test]
    fn faults_name_the_account_and_the_field() {
        let text = r#"
            [aws]
            region = "Frankfurt"
            timeout = "2s"
            accounts = [{id = "12", role = "x", regions = ["eu-1", "a b"]}]
        "#;
        assert_eq!(
            faults(text),
            [
                "aws.region: must be a region such as eu-central-1, got Frankfurt",
                "aws.connect_timeout: must be less than aws.timeout (2s)",
                "aws.accounts[0].regions[1]: must be a region such as eu-central-1",
                "aws.accounts[0].id: must be twelve digits in quotes",
            ]
        );
    }

    #[test]
    fn a_bundle_is_read_from_the_variable_of_the_sdk_and_must_hold_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let variable = ("AWS_CA_BUNDLE", file.to_str().unwrap());
        let read = || Config::parse("", &Environment::of([variable]));
        std::fs::write(&file, "nothing").unwrap();
        let shown = file.display();
        assert_eq!(
            read().unwrap_err().0,
            [format!(
                "aws.ca_bundle: {shown} must hold certificates in PEM form (from AWS_CA_BUNDLE)"
            )]
        );
        let made = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap();
        std::fs::write(&file, made.cert.pem()).unwrap();
        let authorities = read().unwrap().aws.authorities.unwrap();
        assert_eq!(authorities.pem, made.cert.pem().as_bytes());
    }
}
