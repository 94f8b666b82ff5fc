use std::path::Path;

use super::*;

const HASH: &str = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

fn nothing() -> Environment {
    Environment::default()
}

fn faults(text: &str) -> Vec<String> {
    Config::parse(text, &nothing()).unwrap_err().0
}

#[test]
fn defaults_are_valid_and_stay_on_this_host() {
    let config = Config::parse("", &nothing()).unwrap();
    assert_eq!(
        config.listen.addresses().collect::<Vec<_>>(),
        [
            ("http", "127.0.0.1:9477".parse().unwrap()),
            ("otlp_http", "127.0.0.1:4318".parse().unwrap()),
            ("grpc", "127.0.0.1:4317".parse().unwrap()),
        ]
    );
    assert_eq!(config.store.path, Path::new("/var/lib/tallyd"));
    assert!(config.auth.access_list().is_open());
    assert_eq!((config.tls, config.forward), (None, None));
}

#[test]
fn all_faults_are_reported_together_in_the_words_of_the_user() {
    let text = r#"
        [listen]
        http = "9477"
        grcp = ""
        [collect]
        period = "1s"
        timeout = 5
        [auth]
        tokens = [{name = "ci", hash = "abc", scopes = ["write"], colour = "red"}]
        [identity]
        order = ["fish", "email", "email", "dog"]
        [sources]
        order = ["gateway", "Bad Name"]
        [log]
        level = "verbose"
        [stor]
        path = "/x"
    "#;
    assert_eq!(
        faults(text),
        [
            "listen.http: must be an address such as 127.0.0.1:9477, got 9477",
            "auth.tokens[0].scopes[0]: must be one of ingest, quota, read, finance, admin",
            "auth.tokens[0].hash: must be sha256: and 64 hexadecimal digits",
            "auth.tokens[0].colour: unknown key",
            "identity.order[2]: email is there twice",
            "identity.order[0]: must be one of gateway, header, email, oidc, enduser, custom, got fish",
            "identity.order[3]: must be one of gateway, header, email, oidc, enduser, custom, got dog",
            "sources.order[1]: must be 1 to 64 characters of a-z, 0-9, `_`, `.` and `-`, got Bad Name",
            "collect.period: must be at least 10s, got 1s",
            "collect.timeout: must be a duration such as 30s, 5m or 90d, got 5",
            "log.level: must be error, warn, info, debug, trace or directives, got verbose",
            "listen.grcp: unknown key; did you mean grpc?",
            "stor: unknown section; did you mean store?",
        ]
    );
}

#[test]
fn a_syntax_fault_names_the_line_but_does_not_repeat_it() {
    let faults = faults("[forward]\nheaders = {authorization = \"s3cret\n");
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("line 2: "), "{faults:?}");
    assert!(!faults[0].contains("s3cret"), "{faults:?}");
}

#[test]
fn every_setting_can_be_overridden_by_the_environment() {
    for section in SECTIONS {
        for setting in section.settings {
            let name = setting::variable(section.name, setting.key);
            let text = match setting.default_value() {
                Value::String(text) => text,
                other => other.to_string(),
            };
            let environment = Environment::of([(name.clone(), text)]);
            let config = Config::parse("", &environment);
            assert_eq!(config, Config::parse("", &nothing()), "{name}");
        }
    }
    let environment = Environment::of([
        ("TALLYD_LISTEN_HTTP", ""),
        ("TALLYD_COLLECT_PERIOD", "1m"),
        ("TALLYD_IDENTITY_TEAM_ATTRIBUTES", "squad, team"),
        ("TALLYD_LIMITS_CONCURRENCY", "7"),
    ]);
    let config = Config::parse("[collect]\nperiod = \"20s\"", &environment).unwrap();
    assert_eq!(config.listen.http, None);
    assert_eq!(config.collect.period.as_secs(), 60);
    assert_eq!(config.identity.team_attributes, ["squad", "team"]);
    assert_eq!(config.limits.concurrency, 7);
}

#[test]
fn a_fault_from_the_environment_names_the_variable() {
    let environment = Environment::of([
        ("TALLYD_COLLECT_PERIOD", "1s"),
        ("TALLYD_COLLECT_PEROD", "1m"),
        ("TALLYD_COLECT_PERIOD", "1m"),
        ("TALLYD_HOME_DIR", "of a program beside tallyd"),
        // Kubernetes sets these for services named tallyd and tallyd-metrics.
        ("TALLYD_PORT", "tcp://10.0.0.1:9477"),
        ("TALLYD_METRICS_SERVICE_HOST", "10.0.0.1"),
        ("TALLYD_TOKEN", "for the command line"),
    ]);
    assert_eq!(
        Config::parse("", &environment).unwrap_err().0,
        [
            "collect.period: must be at least 10s, got 1s (from TALLYD_COLLECT_PERIOD)",
            "TALLYD_COLECT_PERIOD: no such section; did you mean collect?",
            "TALLYD_COLLECT_PEROD: no such setting in [collect]",
        ]
    );
}

#[test]
fn an_address_for_other_hosts_needs_tokens() {
    let public = "[listen]\nhttp = \"0.0.0.0:9477\"\ngrpc = \"[::]:4317\"\n";
    assert_eq!(
        faults(public),
        [
            "listen.http: 0.0.0.0:9477 can be reached from other hosts, which needs auth.tokens; \
             `tallyd token new` makes one",
            "listen.grpc: [::]:4317 can be reached from other hosts, which needs auth.tokens; \
             `tallyd token new` makes one",
        ]
    );
    let token =
        format!("[[auth.tokens]]\nname = \"a\"\nhash = \"{HASH}\"\nscopes = [\"ingest\"]\n");
    assert!(Config::parse(&format!("{public}{token}"), &nothing()).is_ok());
}

#[test]
fn tokens_are_checked_against_each_other() {
    let token = format!("{{name = \"a\", hash = \"{HASH}\", scopes = [\"read\"]}}");
    assert_eq!(
        faults(&format!("[auth]\ntokens = [{token}, {token}]")),
        [
            "auth.tokens[1].name: a is there twice",
            "auth.tokens[1].hash: is there twice; each token needs its own",
        ]
    );
}

#[test]
fn settings_that_belong_together_are_checked_together() {
    assert_eq!(
        faults("[metrics]\nper_user = \"pseudonym\"\n[collect]\ntimeout = \"30s\""),
        [
            "collect.timeout: must be less than collect.period (30s), got 30s",
            "metrics.per_user: pseudonym needs identity.pseudonym_key_file",
        ]
    );
    assert_eq!(
        faults("[listen]\nhttp = \"127.0.0.1:4317\""),
        ["listen.grpc: must differ from listen.http, got 127.0.0.1:4317"]
    );
    assert_eq!(
        faults("[listen]\nhttp = \"\"\notlp_http = \"\"\ngrpc = \"\""),
        ["listen.http: at least one listener must be on"]
    );
}

#[test]
fn no_secret_is_ever_shown() {
    let text = |secret: &str| {
        format!(
            "[forward]\nendpoint = \"http://c:4318\"\nheaders = {{authorization = \"{secret}\"}}\n"
        )
    };
    let environment = Environment::of([("TALLYD_TOKEN", "s3cret-env")]);
    let old = Config::parse(&text("s3cret-old"), &environment).unwrap();
    let new = Config::parse(&text("s3cret-new"), &environment).unwrap();
    let changes = old.changes(&new);
    let wrong = Config::parse("[forward]\nheaders = \"s3cret\"", &environment).unwrap_err();
    let wrong_hash = Config::parse("[auth]\ntokens = [\"s3cret\"]", &environment).unwrap_err();
    let shown = format!("{old:?} {changes:?} {environment:?} {wrong} {wrong_hash}");
    assert!(!shown.contains("s3cret"), "{shown}");
    assert_eq!(
        changes,
        [Change {
            key: "forward.headers".to_owned(),
            old: "***".to_owned(),
            new: "***".to_owned(),
            applies: Applies::AfterRestart,
        }]
    );
}

#[test]
fn changes_name_the_key_and_when_they_apply() {
    let parse = |text: &str| Config::parse(text, &nothing()).unwrap();
    let changes = parse("").changes(&parse(
        "[log]\nlevel = \"debug\"\n[collect]\nperiod = \"1m\"",
    ));
    let change = |key: &str, old: &str, new: &str, applies| Change {
        key: key.to_owned(),
        old: old.to_owned(),
        new: new.to_owned(),
        applies,
    };
    assert_eq!(
        changes,
        [
            change("collect.period", "30s", "1m", Applies::AfterRestart),
            change("log.level", "info", "debug", Applies::AtOnce),
        ]
    );
}

#[test]
fn the_example_file_is_the_defaults_and_names_every_setting() {
    let example = example_file();
    let config = Config::parse(&example, &nothing()).unwrap();
    assert_eq!(config, Config::parse("", &nothing()).unwrap());
    for section in SECTIONS {
        let heading = format!("\n[{}]\n", section.name);
        let (_, after) = example.split_once(&heading).unwrap();
        for setting in section.settings {
            let line = format!("{} = {}", setting.key, setting.default);
            let written = after.lines().any(|l| l.trim_start_matches("# ") == line);
            assert!(written, "{}.{line}", section.name);
        }
    }
}

/// `TALLYD_BLESS=1 cargo test` writes the files anew.
#[test]
fn the_rendered_files_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [
        ("deploy/tallyd.example.toml", example_file()),
        ("docs/configuration.md", reference_page()),
    ];
    for (name, rendered) in files {
        let path = root.join(name);
        if std::env::var_os("TALLYD_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &rendered).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == rendered, "{name} is out of date");
    }
}
