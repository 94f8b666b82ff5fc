use std::net::Ipv4Addr;
use std::sync::Mutex;

use super::*;

fn small() -> Settings {
    Settings {
        users: 10,
        days: 3,
        seed: 11,
        ports: Ports::Free,
        listen: Ipv4Addr::LOCALHOST.into(),
        token: None,
        config: None,
        duration: Some(Duration::ZERO),
    }
}

#[tokio::test]
async fn what_a_small_company_does_is_counted_exactly_once() {
    let known = Mutex::new(None);
    let loaded = |history: &History| {
        *known.lock().unwrap() = Some(history.clone());
    };
    run(small(), Clock::System, Stop::new(), loaded)
        .await
        .unwrap();
    let history = known.into_inner().unwrap().unwrap();
    assert_eq!(history.counted, history.played);
    let played: Totals = history.played.values().sum();
    assert!(played.requests > 100);
    assert!(summary(&history).contains("SIMULATED"));
}

#[tokio::test]
async fn whoever_listens_for_other_hosts_asks_for_a_token() {
    let open = Settings {
        days: 1,
        listen: Ipv4Addr::UNSPECIFIED.into(),
        ..small()
    };
    let guarded = Settings {
        token: Some(Secret::new("secret".to_owned())),
        ..open.clone()
    };
    let play = async |settings| run(settings, Clock::System, Stop::new(), |_| ()).await;
    let refused = play(open).await.unwrap_err();
    assert!(refused.to_string().contains("--token-file"), "{refused}");
    play(guarded).await.unwrap();
}
