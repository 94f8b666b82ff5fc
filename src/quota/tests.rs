use std::sync::OnceLock;

use jiff::tz::TimeZone;

use super::*;
use crate::clock::Clock;
use crate::model::directory::Directory;
use crate::model::policy::Field;
use crate::model::quota::Phase;
use crate::model::tokens::Tokens;
use crate::model::usage::Outcome;
use crate::record::Recorder;
use crate::record::testing::Scratch;

const POLICY: &str = r#"
timezone = "UTC"
default_role = "developer"
claims_from = ["gate"]

[roles.developer]
allowed_models = ["claude-*"]
max_tokens_per_day = 10_000
allowed_project_types = ["internal", "customer_facing"]

[roles.viewer]
allowed_models = ["claude-haiku-*"]
max_tokens_per_day = 100
allowed_project_types = ["internal"]

[projects.vault]
type = "confidential"
"#;

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// A backend on a ledger of its own, which can be started again.
struct Bench {
    quota: Quota,
    scratch: Scratch,
    journal: tempfile::TempDir,
}

impl Bench {
    async fn new(policy: &str) -> Self {
        let journal = tempfile::tempdir().unwrap();
        let hook: Arc<OnceLock<Quota>> = Arc::default();
        let heard = hook.clone();
        let scratch = Scratch::with(
            Clock::manual(now()),
            Box::new(move |booked| {
                if let Some(quota) = heard.get() {
                    quota.booked(booked, now());
                }
            }),
        );
        let terms = Arc::new(ArcSwap::from_pointee(Terms::default()));
        let names = Arc::new(ArcSwap::from_pointee(ModelNames::default()));
        let (quota, _) = Quota::open(journal.path(), terms, names).unwrap();
        hook.set(quota.clone()).unwrap();
        let policy = Policy::parse(policy).unwrap();
        quota
            .load(policy, scratch.recorder.ledger(), now())
            .await
            .unwrap();
        Self {
            quota,
            scratch,
            journal,
        }
    }

    fn recorder(&self) -> &Recorder {
        &self.scratch.recorder
    }

    /// A backend as after `kill -9`: from the journal and the ledger alone.
    async fn killed(&self, policy: &str) -> Quota {
        let terms = Arc::new(ArcSwap::from_pointee(Terms::default()));
        let names = Arc::new(ArcSwap::from_pointee(ModelNames::default()));
        let (quota, lines) = Quota::open(self.journal.path(), terms, names).unwrap();
        let policy = Policy::parse(policy).unwrap();
        let ledger = self.recorder().ledger();
        quota.load(policy, ledger, now()).await.unwrap();
        quota.restore(&lines, ledger, now()).await.unwrap();
        quota
    }
}

fn ask(user: &str, input: u64, output: u64) -> Ask {
    Ask {
        claims: Claims {
            user: Some(user.into()),
            ..Claims::default()
        },
        model: "claude-haiku-4-5".into(),
        provider: None,
        input_tokens: input,
        cached_input_tokens: 0,
        max_output_tokens: output,
    }
}

fn used(output: u64) -> Settle {
    Settle {
        tokens: Tokens {
            output,
            ..Tokens::default()
        },
        outcome: Outcome::Ok,
        at: now(),
        request_id: None,
        session: None,
        duration_ms: None,
        ttft_ms: None,
        otherwise: None,
    }
}

fn reserve(quota: &Quota, id: &str, ask: &Ask) -> Result<Answer, Refused> {
    let lease = SignedDuration::from_mins(2);
    quota.reserve(id, ask, lease, "gate", now())
}

/// Used and held of the one limit that concerns a user, in whole tokens.
fn standing(quota: &Quota, user: &str) -> (i128, i128) {
    let resolved = quota.resolve(&ask(user, 0, 0), "", now()).unwrap();
    let standings = quota
        .standings(resolved.subject(), now())
        .unwrap()
        .standings;
    assert_eq!(standings.len(), 1);
    (standings[0].used / 10, standings[0].held / 10)
}

#[tokio::test]
async fn the_three_reasons_of_a_policy_have_each_its_own_refusal() {
    let bench = Bench::new(POLICY).await;
    let viewer = |ask: Ask| Ask {
        claims: Claims {
            roles: vec!["viewer".into()],
            ..ask.claims
        },
        ..ask
    };
    let opus = Ask {
        model: "claude-opus-4-8".into(),
        ..viewer(ask("vic", 1, 1))
    };
    assert_eq!(
        reserve(&bench.quota, "a", &opus).unwrap_err(),
        Refused::Model {
            role: "viewer".into(),
            allowed: vec!["claude-haiku-*".into()],
        }
    );
    let mut vault = viewer(ask("vic", 1, 1));
    vault.claims.project = Some("vault".into());
    assert_eq!(
        reserve(&bench.quota, "b", &vault).unwrap_err(),
        Refused::ProjectType {
            role: "viewer".into(),
            kind: "confidential",
        }
    );
    let full = reserve(&bench.quota, "c", &viewer(ask("vic", 101, 0))).unwrap();
    assert!(matches!(full.decision, Decision::Denied(denial) if denial.never));
}

#[tokio::test]
async fn a_role_is_taken_only_from_senders_that_may_claim_it() {
    let bench = Bench::new(POLICY).await;
    let mut claimed = ask("vic", 1, 1);
    claimed.claims.roles = vec!["viewer".into()];
    let role = |sender: &str| {
        let resolved = bench.quota.resolve(&claimed, sender, now()).unwrap();
        resolved.subject().get(Field::Role).to_owned()
    };
    assert_eq!([role("gate"), role("other")], ["viewer", "developer"]);
}

#[tokio::test]
async fn a_settlement_is_charged_once_and_frees_its_hold() {
    let bench = Bench::new(POLICY).await;
    reserve(&bench.quota, "a", &ask("ann", 100, 900)).unwrap();
    assert_eq!(standing(&bench.quota, "ann"), (0, 1_000));
    let settle = |output| {
        let (quota, recorder) = (bench.quota.clone(), bench.recorder().clone());
        async move { quota.settle(&recorder, "a", &used(output), "gate").await }
    };
    assert!(!settle(250).await.unwrap().replayed);
    assert_eq!(standing(&bench.quota, "ann"), (250, 0));
    assert!(settle(250).await.unwrap().replayed);
    assert_eq!(standing(&bench.quota, "ann"), (250, 0));
    assert!(matches!(settle(251).await, Err(SettleError::Conflict(_))));
    assert_eq!(standing(&bench.quota, "ann"), (250, 0));
}

#[tokio::test]
async fn a_killed_backend_comes_back_with_what_was_charged_and_held() {
    let bench = Bench::new(POLICY).await;
    for id in ["settled", "released", "held"] {
        reserve(&bench.quota, id, &ask("ann", 100, 900)).unwrap();
    }
    bench
        .quota
        .settle(bench.recorder(), "settled", &used(300), "gate")
        .await
        .unwrap();
    bench.quota.release("released", now()).unwrap();
    let again = bench.killed(POLICY).await;
    assert_eq!(standing(&again, "ann"), (300, 1_000));
    let phase = |id: &str| again.reservation(id).map(|known| known.phase);
    assert_eq!(
        ["settled", "released", "held"].map(phase),
        [None, None, Some(Phase::Live)]
    );
    // What was settled before the kill is known to the ledger.
    let settled = again
        .settle(bench.recorder(), "settled", &used(300), "gate")
        .await;
    assert!(settled.unwrap().replayed);
}

#[tokio::test]
async fn a_settlement_nobody_reserved_is_charged_to_whom_it_names() {
    let bench = Bench::new(POLICY).await;
    let settle = |otherwise| {
        let (quota, recorder) = (bench.quota.clone(), bench.recorder().clone());
        let settle = Settle {
            otherwise,
            ..used(40)
        };
        async move { quota.settle(&recorder, "lost", &settle, "gate").await }
    };
    assert!(matches!(settle(None).await, Err(SettleError::Unknown)));
    let claims = ask("ann", 0, 0).claims;
    let otherwise = Some((claims, "claude-haiku-4-5".into(), None));
    settle(otherwise).await.unwrap();
    assert_eq!(standing(&bench.quota, "ann"), (40, 0));
}

#[tokio::test]
async fn a_new_policy_keeps_what_was_used_and_held() {
    let bench = Bench::new(POLICY).await;
    reserve(&bench.quota, "a", &ask("ann", 0, 500)).unwrap();
    reserve(&bench.quota, "b", &ask("ann", 0, 500)).unwrap();
    bench
        .quota
        .settle(bench.recorder(), "a", &used(200), "gate")
        .await
        .unwrap();
    let smaller = Policy::parse(&POLICY.replace("10_000", "600")).unwrap();
    let ledger = bench.recorder().ledger();
    bench.quota.load(smaller, ledger, now()).await.unwrap();
    assert_eq!(standing(&bench.quota, "ann"), (200, 500));
    let denied = reserve(&bench.quota, "c", &ask("ann", 0, 1)).unwrap();
    assert!(matches!(denied.decision, Decision::Denied(_)));
    assert_eq!(denied.version, 2);
    bench
        .quota
        .settle(bench.recorder(), "b", &used(10), "gate")
        .await
        .unwrap();
    assert_eq!(standing(&bench.quota, "ann"), (210, 0));
}

const THREE: &str = r#"
[[limits]]
name = "pool"
unit = "requests"
limit = 1_000
window = "day"

[[limits]]
name = "user"
per = ["user"]
unit = "output_tokens"
limit = 1_600
window = "month"

[[limits]]
name = "model"
per = ["model"]
unit = "tokens"
limit = 10_000
window = "hour"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_threads_never_get_more_than_three_limits_allow() {
    for _ in 0..20 {
        let bench = Bench::new(THREE).await;
        let threads: Vec<_> = (0..64)
            .map(|thread| {
                let quota = bench.quota.clone();
                std::thread::spawn(move || {
                    let ask = ask(&format!("u{}", thread % 8), 0, 10);
                    let admitted = |call: &u32| {
                        let answer = reserve(&quota, &format!("{thread}-{call}"), &ask);
                        matches!(answer.unwrap().decision, Decision::Allowed(_))
                    };
                    (0..40_u32).filter(admitted).count()
                })
            })
            .collect();
        let admitted: usize = threads.into_iter().map(|t| t.join().unwrap()).sum();
        // Ten tokens each: pool, users (8 * 160) and model allow 1,000, 1,280 and 1,000.
        assert_eq!(admitted, 1_000);
        let all = bench.quota.all_balances(now()).unwrap();
        let held = |limit: usize| -> i128 {
            let of = all.standings.iter().filter(|s| s.limit == limit);
            of.map(|standing| standing.held).sum()
        };
        assert_eq!([held(0), held(1), held(2)], [1_000, 10_000, 10_000]);
    }
}

#[tokio::test]
async fn a_correction_outlives_the_counters() {
    let bench = Bench::new(POLICY).await;
    let correction = |amount: &str| Correction {
        id: "ticket".into(),
        limit: "role-developer-day".into(),
        scope: BTreeMap::from([(Field::User, "ann".into())]),
        amount: amount.into(),
        reason: "tests".into(),
        created_by: "ops".into(),
    };
    let ledger = bench.recorder().ledger();
    for replayed in [false, true] {
        let done = bench.quota.correct(ledger, correction("70"), now()).await;
        assert_eq!(done.unwrap().0, replayed);
        assert_eq!(standing(&bench.quota, "ann"), (70, 0));
    }
    let other = bench.quota.correct(ledger, correction("71"), now()).await;
    assert!(matches!(other, Err(CorrectionError::Conflict)));
    let policy = Policy::parse(POLICY).unwrap();
    bench.quota.load(policy, ledger, now()).await.unwrap();
    assert_eq!(standing(&bench.quota, "ann"), (70, 0));
    assert_eq!(standing(&bench.killed(POLICY).await, "ann"), (70, 0));
}

#[tokio::test]
async fn a_capped_hold_is_the_largest_that_fits() {
    let bench = Bench::new(POLICY).await;
    reserve(&bench.quota, "a", &ask("ann", 0, 9_000)).unwrap();
    let lease = SignedDuration::from_mins(2);
    let capped = |id: &str, input| {
        let answer = bench
            .quota
            .reserve_capped(id, &ask("ann", input, 4_000), lease, "gate", now())
            .unwrap();
        let is_allowed = matches!(answer.decision, Decision::Allowed(_));
        (is_allowed, answer.resolved.estimate.output)
    };
    assert_eq!(capped("b", 1_000), (false, 4_000));
    assert_eq!(capped("c", 700), (true, 300));
    assert_eq!(capped("c", 700), (true, 300));
    assert_eq!(standing(&bench.quota, "ann"), (0, 10_000));
}

#[tokio::test]
async fn an_expired_reservation_is_charged_as_the_limit_says_until_it_is_settled() {
    let policy = POLICY.to_owned()
        + "[[limits]]\nname = \"all\"\nunit = \"tokens\"\nlimit = 100000\nwindow = \"day\"\n\
           on_expiry = \"charge_estimate\"\n";
    let bench = Bench::new(&policy).await;
    reserve(&bench.quota, "a", &ask("ann", 100, 900)).unwrap();
    let used_of_all = || {
        let resolved = bench.quota.resolve(&ask("ann", 0, 0), "", now()).unwrap();
        let balances = bench.quota.standings(resolved.subject(), now()).unwrap();
        let all = balances
            .standings
            .iter()
            .find(|standing| standing.limit == 0);
        all.map(|standing| (standing.used, standing.held))
    };
    let later = now() + SignedDuration::from_mins(2);
    let ended = bench.quota.round(later);
    assert_eq!(ended.len(), 1);
    let charged = bench.quota.charge_expired(bench.recorder(), ended, now());
    charged.await.unwrap();
    assert_eq!(used_of_all(), Some((1_000, 0)));
    // What was really used takes the place of the estimate.
    let settled = bench
        .quota
        .settle(bench.recorder(), "a", &used(250), "gate")
        .await;
    assert!(!settled.unwrap().replayed);
    assert_eq!(used_of_all(), Some((250, 0)));
}

#[tokio::test]
async fn one_expired_reservation_that_cannot_be_charged_holds_back_no_other() {
    let policy = "[[limits]]\nname = \"each\"\nper = [\"user\"]\nunit = \"tokens\"\n\
                  limit = 100000\nwindow = \"day\"\non_expiry = \"charge_estimate\"\n";
    let bench = Bench::new(policy).await;
    let users: Vec<_> = (0..40).map(|number| format!("u{number}")).collect();
    for user in &users {
        reserve(&bench.quota, user, &ask(user, 0, 1_000)).unwrap();
    }
    let ended = bench.quota.round(now() + SignedDuration::from_mins(2));
    assert_eq!(ended.len(), users.len());
    bench.recorder().ledger().choke_on("u7").await.unwrap();
    let charged = bench.quota.charge_expired(bench.recorder(), ended, now());
    let error = charged.await.unwrap_err().to_string();
    assert!(error.contains("choked"), "{error}");
    for user in &users {
        let used = if user == "u7" { 0 } else { 100 };
        assert_eq!(standing(&bench.quota, user), (used, 0), "{user}");
    }
}

#[tokio::test]
async fn what_is_known_of_a_caller_ends_with_the_directory_and_with_its_next_date() {
    let bench = Bench::new(POLICY).await;
    let team = |at: &str| {
        let at = at.parse().unwrap();
        let resolved = bench.quota.resolve(&ask("ann", 1, 1), "gate", at).unwrap();
        resolved.subject().get(Field::Team).to_owned()
    };
    assert_eq!(team("2026-11-22T12:00:00Z"), "");
    let moved = "identity,person,kind,team,project,cost_center,role,from,to\n\
                 ann,,person,ml,,,,,2026-11-23\n\
                 ann,,person,search,,,,2026-11-23,\n";
    bench.quota.inner.terms.store(Arc::new(Terms {
        directory: Directory::parse(moved, &TimeZone::UTC).unwrap(),
        ..Terms::default()
    }));
    let seen = ["22T12:00", "22T23:59", "23T00:00", "24T00:00", "22T12:00"];
    assert_eq!(
        seen.map(|at| team(&format!("2026-11-{at}:00Z"))),
        ["ml", "ml", "search", "search", "ml"]
    );
}
