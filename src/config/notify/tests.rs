use super::*;
use crate::config::{Config, Environment};

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Vec<Notify>, Vec<String>> {
    let environment = Environment::of(variables.iter().copied());
    Config::parse(text, &environment)
        .map(|config| config.notify)
        .map_err(|faults| faults.0)
}

#[test]
fn a_target_of_each_kind_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef\n").unwrap();
    let text = format!(
        r#"
        [notify.pager]
        kind = "webhook"
        url = "https://pager.example.com/hook?x=1"
        secret_file = "{}"
        severities = ["critical"]
        [notify.am]
        kind = "alertmanager"
        url = "http://127.0.0.1:9093"
        labels = {{cluster = "eu"}}
        [notify.aws]
        kind = "sns"
        topic_arn = "arn:aws:sns:eu-central-1:111122223333:alarms"
        states = ["ALARM", "OK", "INSUFFICIENT_DATA"]
        [notify.ops-chat]
        kind = "slack"
        group_wait = "0s"
        "#,
        secret.display()
    );
    let slack = "https://hooks.slack.com/services/T0/B0/x";
    let variables = [("TALLYD_NOTIFY_OPS_CHAT_URL", slack)];
    let url = |text: &str| Secret::new(text.parse::<Url>().unwrap());
    let target = |name: &str, kind| Notify {
        name: name.to_owned(),
        kind,
        alarms: vec!["*".to_owned()],
        severities: Vec::new(),
        states: vec![State::Alarm, State::Ok],
        group_wait: Duration::from_secs(10),
        group_above: 3,
        per_minute: 10,
    };
    let expected = [
        target(
            "am",
            NotifyKind::Alertmanager {
                url: url("http://127.0.0.1:9093"),
                labels: [("cluster".to_owned(), "eu".to_owned())].into(),
            },
        ),
        Notify {
            states: vec![State::Alarm, State::Ok, State::InsufficientData],
            ..target(
                "aws",
                NotifyKind::Sns {
                    topic: TopicArn {
                        arn: "arn:aws:sns:eu-central-1:111122223333:alarms".to_owned(),
                        partition: "aws".to_owned(),
                        region: "eu-central-1".to_owned(),
                        account: "111122223333".to_owned(),
                    },
                },
            )
        },
        Notify {
            group_wait: Duration::ZERO,
            ..target("ops-chat", NotifyKind::Slack { url: url(slack) })
        },
        Notify {
            severities: vec!["critical".to_owned()],
            ..target(
                "pager",
                NotifyKind::Webhook {
                    url: url("https://pager.example.com/hook?x=1"),
                    secret: Secret::new("0123456789abcdef".to_owned()),
                },
            )
        },
    ];
    assert_eq!(parse(&text, &variables).unwrap(), expected);
}

#[test]
fn a_target_can_come_from_the_environment_alone() {
    let variables = [
        ("TALLYD_NOTIFY_OPS_KIND", "slack"),
        ("TALLYD_NOTIFY_OPS_URL", "https://hooks.slack.com/x"),
        ("TALLYD_NOTIFY_OPS_STATES", "ALARM"),
    ];
    let targets = parse("", &variables).unwrap();
    assert_eq!(targets.len(), 1);
    assert_eq!(targets[0].name, "ops");
    assert_eq!(targets[0].states, [State::Alarm]);
}

#[test]
fn faults_name_the_target_and_the_key() {
    let text = r#"
        [notify.a]
        kind = "slak"
        colour = "red"
        [notify.b]
        kind = "slack"
        [notify.c]
        kind = "webhook"
        url = "ftp://x"
        topic_arn = "arn:aws:sns:eu-central-1:1:x"
        [notify.D]
        kind = "slack"
        [notify.e]
        [notify.f]
        kind = "alertmanager"
        url = "http://am:9093"
        labels = {alertname = "x", "1x" = "y"}
        states = []
        per_minute = 0
        [notify]
        g = 1
    "#;
    let variables = [("TALLYD_NOTIFY_B_COLOUR", "red")];
    assert_eq!(
        parse(text, &variables).unwrap_err(),
        [
            "notify.D: a name has up to 40 lower-case letters, digits, - and _",
            "notify.a.kind: must be one of sns, slack, webhook, alertmanager",
            "notify.b.url: is needed: give url_file or TALLYD_NOTIFY_B_URL",
            "notify.c.topic_arn: must be such as arn:aws:sns:eu-central-1:111122223333:alarms, got \
             arn:aws:sns:eu-central-1:1:x",
            "notify.c.url: must be a URL that begins with https:// or http://",
            "notify.c.secret: is needed: give secret_file or TALLYD_NOTIFY_C_SECRET",
            "notify.e.kind: is needed, one of sns, slack, webhook, alertmanager",
            "notify.f.labels.1x: a label has letters, digits and _ and begins with no digit",
            "notify.f.labels.alertname: is set by tallyd itself",
            "notify.f.states: at least one is needed",
            "notify.f.per_minute: must be a number from 1 to 1000, got 0",
            "notify.g.kind: is needed, one of sns, slack, webhook, alertmanager",
            "notify.a.colour: unknown key",
            "notify.g: must be a section, written [notify.g]",
            "TALLYD_NOTIFY_B_COLOUR: no such setting in [notify]",
        ]
    );
}

#[test]
fn secrets_come_from_files_or_the_environment_and_are_never_shown() {
    let text = "[notify.ops]\nkind = \"slack\"\nurl = \"https://hooks.slack.com/s3cret\"\n\
                [notify.hook]\nkind = \"webhook\"\nurl = \"https://h/s3cret\"\n\
                secret = \"s3cret-s3cret-s3cret\"\n";
    assert_eq!(
        parse(text, &[]).unwrap_err(),
        [
            "notify.hook.secret: is a secret: put it into secret_file or the variable \
             TALLYD_NOTIFY_HOOK_SECRET",
            "notify.ops.url: is a secret: put it into url_file or the variable \
             TALLYD_NOTIFY_OPS_URL",
        ]
    );
    let load = |end: &str| {
        let (url, secret) = (
            format!("https://h/s3cret{end}"),
            format!("s3cret-s3cret-{end}"),
        );
        let environment = Environment::of([
            ("TALLYD_NOTIFY_OPS_KIND", "webhook"),
            ("TALLYD_NOTIFY_OPS_URL", &*url),
            ("TALLYD_NOTIFY_OPS_SECRET", &*secret),
        ]);
        Config::parse("", &environment).unwrap()
    };
    let (old, new) = (load("-old"), load("-new"));
    let changes = old.changes(&new);
    let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(keys, ["notify.ops.url", "notify.ops.secret"]);
    let shown = format!("{old:?} {changes:?} {:?}", new.notify);
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn a_new_target_is_a_change() {
    let old = Config::parse("", &Environment::default()).unwrap();
    let text = "[notify.am]\nkind = \"alertmanager\"\nurl = \"http://am:9093\"\n";
    let new = Config::parse(text, &Environment::default()).unwrap();
    let changes = old.changes(&new);
    assert_eq!(changes[0].key, "notify.am.kind");
    assert_eq!(
        (&*changes[0].old, &*changes[0].new),
        ("nothing", "alertmanager")
    );
}
