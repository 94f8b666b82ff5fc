use std::path::Path;

use super::*;
use crate::config::{Environment, Format, Log};
use crate::model::access::{Denied, Scope, hash_text, hash_token};

fn level() -> LevelSwitch {
    let log = Log {
        format: Format::Text,
        level: "info".to_owned(),
    };
    let (_, level) = crate::telemetry::subscriber(&log, std::io::sink).unwrap();
    level
}

fn reloader(file: &Path) -> (Reloader, Live) {
    let source = Source {
        file: Some(file.to_owned()),
        environment: Environment::default(),
    };
    let config = source.load().unwrap();
    let live = Live::new(&config).unwrap();
    (Reloader::new(source, level(), config, live.clone()), live)
}

#[test]
fn a_reload_applies_tokens_and_a_faulty_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tallyd.toml");
    std::fs::write(&file, "").unwrap();
    let (mut reloader, live) = reloader(&file);
    let asked = |live: &Live| {
        live.access
            .load()
            .authorize(Some("one"), Scope::Read)
            .map(drop)
    };
    assert_eq!(asked(&live), Ok(()));

    let token = |secret: &str| {
        format!(
            "[[auth.tokens]]\nname = \"a\"\nhash = \"{}\"\nscopes = [\"read\"]\n",
            hash_text(&hash_token(secret))
        )
    };
    std::fs::write(&file, token("two")).unwrap();
    reloader.reload().unwrap();
    assert_eq!(asked(&live), Err(Denied::Unknown));

    std::fs::write(&file, format!("{}[log]\nlevel = \"loud\"", token("one"))).unwrap();
    let error = reloader.reload().unwrap_err();
    assert_eq!(
        error
            .downcast_ref::<crate::config::Faults>()
            .unwrap()
            .0
            .len(),
        1
    );
    assert_eq!(asked(&live), Err(Denied::Unknown));

    std::fs::write(&file, token("one")).unwrap();
    reloader.reload().unwrap();
    assert_eq!(asked(&live), Ok(()));
}

#[tokio::test]
async fn it_takes_free_ports_and_ends_when_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[listen]\nhttp = \"127.0.0.1:0\"\notlp_http = \"127.0.0.1:0\"\ngrpc = \"\"\n\
         [store]\npath = {:?}\n",
        folder.path()
    );
    let config = Config::parse(&text, &Environment::default()).unwrap();
    let app = App::build(config, Clock::System).await.unwrap();
    let addresses = app.addresses();
    assert_ne!(addresses.http.unwrap().port(), 0);
    assert_eq!(addresses.grpc, None);
    let readiness = Arc::clone(&app.parts().readiness);
    let stop = Stop::new();
    let running = tokio::spawn(app.run(None, stop.clone()));
    let answer = reqwest::get(format!("http://{}/nowhere", addresses.http.unwrap())).await;
    assert_eq!(answer.unwrap().status(), 404);
    stop.stop();
    running.await.unwrap().unwrap();
    assert!(readiness.list().iter().all(|condition| !condition.ok));
}
