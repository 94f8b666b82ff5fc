//! A real Alertmanager. SNS is asked through the front door, in `tests/it/peer_notify.rs`.

use std::process::{Child, Command, Stdio};

use super::*;

/// Ends its process with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct RealAlertmanager {
    url: String,
    client: Client,
    _process: Running,
}

impl RealAlertmanager {
    async fn start(folder: &Path) -> Self {
        let config = folder.join("alertmanager.yml");
        let text = "route: {receiver: none, group_wait: 0s}\nreceivers: [{name: none}]\n";
        std::fs::write(&config, text).unwrap();
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let process = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.join("am").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let alertmanager = Self {
            url: format!("http://127.0.0.1:{port}"),
            client: Client::builder().no_proxy().build().unwrap(),
            _process: Running(process.unwrap()),
        };
        let looks = async {
            while alertmanager.ready().await.is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let patience = Duration::from_secs(30);
        tokio::time::timeout(patience, looks).await.unwrap();
        alertmanager
    }

    async fn ready(&self) -> Option<()> {
        let url = format!("{}/-/ready", self.url);
        let answer = self.client.get(url).send().await.ok()?;
        answer.status().is_success().then_some(())
    }

    /// The alerts that fire: name and end of each.
    async fn firing(&self) -> Vec<(String, Timestamp)> {
        let url = format!("{}/api/v2/alerts", self.url);
        let alerts = self.client.get(url).send().await.unwrap();
        let alerts: Value = alerts.json().await.unwrap();
        let alerts = alerts.as_array().unwrap().iter();
        let mut firing: Vec<_> = alerts
            .map(|alert| {
                let name = alert["labels"]["alertname"].as_str().unwrap().to_owned();
                (name, alert["endsAt"].as_str().unwrap().parse().unwrap())
            })
            .collect();
        firing.sort();
        firing
    }
}

fn later(now: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_millisecond(now.as_millisecond() + seconds * 1_000).unwrap()
}

#[tokio::test]
#[ignore = "needs prometheus-alertmanager"]
async fn an_alert_fires_is_sent_again_and_ends_with_the_recovery() {
    let folder = tempfile::tempdir().unwrap();
    let peer = RealAlertmanager::start(folder.path()).await;
    let target = format!(
        "[notify.am]\nkind = \"alertmanager\"\nurl = \"{}\"\ngroup_wait = \"0s\"\n",
        peer.url
    );
    let store = folder.path().join("store");
    let world = World::open(&store, &[(target, Vec::new())]).await;
    let now = Timestamp::from_second(Clock::System.now().as_second()).unwrap();
    let at = |seconds| later(now, seconds);
    let named = |name: &str, to, at| Transition {
        at,
        ..transition(name, to, 0)
    };
    // One that begins after it ends is refused, and must not drag the others along.
    let fired = [
        named("a", State::Alarm, now),
        named("from-the-future", State::Alarm, at(3_600)),
        named("b", State::Alarm, now),
    ];
    let notices = world.notify.notices(&fired, now);
    let states = fired.iter().map(|one| AlarmStatus {
        name: one.alarm.name.clone(),
        state: State::Alarm,
        since: one.at,
        updated: now,
        reason: String::new(),
        value: None,
    });
    world
        .ledger
        .settle_alarms(states.collect(), Vec::new(), Vec::new(), notices)
        .await
        .unwrap();
    world.notify.round(now).await.unwrap();
    let both = |end| vec![("a".to_owned(), end), ("b".to_owned(), end)];
    assert_eq!(peer.firing().await, both(at(300)));
    let results = world.results("am");
    assert_eq!(results, [("delivered", 2), ("refused", 1)]);

    world.notify.round(at(59)).await.unwrap();
    assert_eq!(peer.firing().await, both(at(300)));
    world.notify.round(at(60)).await.unwrap();
    assert_eq!(peer.firing().await, both(at(360)));

    world.settle(&[named("a", State::Ok, now)]).await;
    world.notify.round(at(65)).await.unwrap();
    assert_eq!(peer.firing().await, both(at(360))[1..]);
    // Data that goes missing ends an alert as well.
    world
        .settle(&[named("b", State::InsufficientData, now)])
        .await;
    world.notify.round(at(125)).await.unwrap();
    assert_eq!(peer.firing().await, []);
    // A test is seen, and ends by itself.
    world.notify.test("am", now).await.unwrap();
    assert_eq!(peer.firing().await, [("tallyd-test".to_owned(), at(300))]);
    world.close();
}
