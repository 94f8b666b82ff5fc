//! Who is behind the principal that called: a person, or the role that many take.

use crate::config::BedrockLogs;
use crate::model::identify::user_name;

/// How sessions are named that no person has named: SDKs, instances, functions.
const MACHINE_MADE: [&str; 6] = [
    "i-",
    "botocore-session-",
    "aws-sdk-",
    "aws-go-sdk-",
    "assumerolesession",
    "assume-role-from-",
];

pub(super) fn arn_of(identity: &serde_json::Value) -> Option<&str> {
    let one = identity
        .as_array()
        .map_or(Some(identity), |all| all.first());
    one?.get("arn")?.as_str().filter(|arn| !arn.is_empty())
}

/// Who a principal is: the name of its session, of the IAM user or of the federated user. A
/// session that no person has named stands for its role, unless the installation is known.
pub(super) fn principal(arn: &str, config: &BedrockLogs, has_device: bool) -> Option<Box<str>> {
    let resource = arn.splitn(6, ':').nth(5)?;
    let (kind, path) = resource.split_once('/')?;
    match kind {
        "assumed-role" => {
            let (role, session) = path.rsplit_once('/')?;
            let role = role.rsplit('/').next()?;
            let is_shared = config.shared_roles.iter().any(|shared| shared == role);
            if is_shared || is_machine_made(session) {
                let role = || user_name(&format!("role:{role}"));
                return (!has_device).then(role).flatten();
            }
            let prefixes = config.session_prefixes.iter();
            let own = prefixes
                .filter_map(|prefix| session.strip_prefix(&**prefix))
                .find(|own| !own.is_empty());
            user_name(own.unwrap_or(session))
        }
        "user" | "federated-user" => user_name(path.rsplit('/').next()?),
        _ => None,
    }
}

fn is_machine_made(session: &str) -> bool {
    let session = session.to_ascii_lowercase();
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    MACHINE_MADE.iter().any(|start| session.starts_with(start)) || digits(&session)
}
