use std::sync::Mutex;

use super::*;

const SMALL: Settings = Settings {
    users: 10,
    days: 3,
    seed: 11,
    ports: Ports::Free,
    duration: Some(Duration::ZERO),
};

#[tokio::test]
async fn what_a_small_company_does_is_counted_exactly_once() {
    let known = Mutex::new(None);
    let loaded = |history: &History| {
        *known.lock().unwrap() = Some(history.clone());
    };
    run(SMALL, Clock::System, Stop::new(), loaded)
        .await
        .unwrap();
    let history = known.into_inner().unwrap().unwrap();
    assert_eq!(history.counted, history.played);
    let played: Totals = history.played.values().sum();
    assert!(played.requests > 100);
    assert!(summary(&history).contains("SIMULATED"));
}
