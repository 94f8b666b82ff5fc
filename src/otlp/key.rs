//! The attributes that tallyd reads. Nothing else of a client's attributes is ever looked at,
//! except to tell series apart by a hash and to identify the user by the configured names.

/// A known attribute key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Key {
    Type,
    Model,
    Speed,
    Source,
    Success,
    Decision,
    Language,
    ToolName,
    StartType,
    RequestId,
    ClientRequestId,
    StatusCode,
    DurationMs,
    QuerySource,
    CostUsd,
    CostUsdMicros,
    InputTokens,
    OutputTokens,
    CacheReadTokens,
    CacheCreationTokens,
    EventName,
    EventTimestamp,
    EventSequence,
    SessionId,
    Entrypoint,
    ServiceName,
    ServiceVersion,
    GenAiSystem,
    GenAiProvider,
    GenAiTokenType,
    GenAiRequestModel,
    GenAiResponseModel,
    ErrorType,
    UserId,
    UserEmail,
    UserAccountUuid,
    UserAccountId,
    OrganizationId,
    EnduserId,
    IdentitySource,
    TeamId,
    Department,
    CostCenter,
    Project,
    ProjectId,
    ProjectTag,
    Team,
    TeamHeader,
    DepartmentHeader,
    CostCenterId,
    CostCenterHeader,
    Organization,
}

impl Key {
    pub(super) const COUNT: usize = Self::Organization as usize + 1;

    const ALL: [(Self, &'static str); Self::COUNT] = [
        (Self::Type, "type"),
        (Self::Model, "model"),
        (Self::Speed, "speed"),
        (Self::Source, "source"),
        (Self::Success, "success"),
        (Self::Decision, "decision"),
        (Self::Language, "language"),
        (Self::ToolName, "tool_name"),
        (Self::StartType, "start_type"),
        (Self::RequestId, "request_id"),
        (Self::ClientRequestId, "client_request_id"),
        (Self::StatusCode, "status_code"),
        (Self::DurationMs, "duration_ms"),
        (Self::QuerySource, "query_source"),
        (Self::CostUsd, "cost_usd"),
        (Self::CostUsdMicros, "cost_usd_micros"),
        (Self::InputTokens, "input_tokens"),
        (Self::OutputTokens, "output_tokens"),
        (Self::CacheReadTokens, "cache_read_tokens"),
        (Self::CacheCreationTokens, "cache_creation_tokens"),
        (Self::EventName, "event.name"),
        (Self::EventTimestamp, "event.timestamp"),
        (Self::EventSequence, "event.sequence"),
        (Self::SessionId, "session.id"),
        (Self::Entrypoint, "app.entrypoint"),
        (Self::ServiceName, "service.name"),
        (Self::ServiceVersion, "service.version"),
        (Self::GenAiSystem, "gen_ai.system"),
        (Self::GenAiProvider, "gen_ai.provider.name"),
        (Self::GenAiTokenType, "gen_ai.token.type"),
        (Self::GenAiRequestModel, "gen_ai.request.model"),
        (Self::GenAiResponseModel, "gen_ai.response.model"),
        (Self::ErrorType, "error.type"),
        (Self::UserId, "user.id"),
        (Self::UserEmail, "user.email"),
        (Self::UserAccountUuid, "user.account_uuid"),
        (Self::UserAccountId, "user.account_id"),
        (Self::OrganizationId, "organization.id"),
        (Self::EnduserId, "enduser.id"),
        (Self::IdentitySource, "identity.source"),
        (Self::TeamId, "team.id"),
        (Self::Department, "department"),
        (Self::CostCenter, "cost_center"),
        (Self::Project, "project"),
        (Self::ProjectId, "project.id"),
        (Self::ProjectTag, "x-tag-project"),
        (Self::Team, "team"),
        (Self::TeamHeader, "x-team-id"),
        (Self::DepartmentHeader, "x-department"),
        (Self::CostCenterId, "cost_center.id"),
        (Self::CostCenterHeader, "x-cost-center"),
        (Self::Organization, "organization"),
    ];

    /// The attribute's name.
    pub(super) const fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Finds a known key. Keys are told apart by length first, so that a foreign key costs a few
    /// comparisons only.
    pub(super) fn of(name: &str) -> Option<Self> {
        let range = BY_LENGTH.get(name.len())?;
        let candidates = &SORTED[usize::from(range.0)..usize::from(range.1)];
        let first = name.as_bytes().first()?;
        for (key, known) in candidates {
            if known.as_bytes().first() == Some(first) && *known == name {
                return Some(*key);
            }
        }
        None
    }
}

const LONGEST: usize = 21;

/// All keys by the length of their names.
static SORTED: [(Key, &str); Key::COUNT] = sorted();

/// For each length where its keys begin and end in [`SORTED`].
static BY_LENGTH: [(u8, u8); LONGEST + 1] = by_length();

const fn sorted() -> [(Key, &'static str); Key::COUNT] {
    let mut sorted = Key::ALL;
    let (mut length, mut filled) = (0, 0);
    while length <= LONGEST {
        let mut at = 0;
        while at < Key::COUNT {
            if Key::ALL[at].1.len() == length {
                sorted[filled] = Key::ALL[at];
                filled += 1;
            }
            at += 1;
        }
        length += 1;
    }
    assert!(filled == Key::COUNT, "LONGEST covers every key");
    sorted
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "there are fewer than 255 keys"
)]
const fn by_length() -> [(u8, u8); LONGEST + 1] {
    let sorted = sorted();
    let mut ranges = [(0, 0); LONGEST + 1];
    let (mut length, mut at) = (0, 0);
    while length <= LONGEST {
        let start = at;
        while at < Key::COUNT && sorted[at].1.len() == length {
            at += 1;
        }
        ranges[length] = (start as u8, at as u8);
        length += 1;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_by_its_name_and_no_other() {
        for (position, (key, name)) in Key::ALL.into_iter().enumerate() {
            assert_eq!(key as usize, position);
            assert_eq!(Key::of(name), Some(key));
            assert_eq!(key.name(), name);
        }
        assert_eq!(Key::of("prompt"), None);
        assert_eq!(Key::of(""), None);
        assert_eq!(Key::of(&"m".repeat(10_000)), None);
    }
}
