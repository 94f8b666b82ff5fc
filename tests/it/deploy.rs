//! The files in `deploy/` that make an evaluation with Docker.

use std::fs;
use std::process::Command;

use crate::dashboards::root;
use crate::harness::Place;

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The items of lists in a file, without quotes: `- "127.0.0.1:9477:9477"`.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let items = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "));
    items.map(|item| item.trim_matches('"'))
}

#[test]
fn nothing_of_the_evaluation_can_be_reached_from_other_hosts() {
    let compose = read("deploy/compose.yaml");
    let is_port = |item: &&str| item.chars().all(|c| c.is_ascii_digit() || ".:".contains(c));
    let ports: Vec<&str> = items(&compose).filter(is_port).collect();
    assert!(ports.len() >= 6, "{ports:?}");
    for port in ports {
        assert!(port.starts_with("127.0.0.1:"), "{port}");
    }
}

#[test]
fn images_are_of_a_version() {
    let compose = read("deploy/compose.yaml");
    let images = compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("image: "));
    let images: Vec<&str> = images.collect();
    assert_eq!(images.len(), 4, "{images:?}");
    for image in images {
        let (_, tag) = image.split_once(':').unwrap_or((image, "latest"));
        assert_ne!(tag, "latest", "{image}");
    }
}

#[test]
fn every_file_that_a_container_gets_is_there() {
    let compose = read("deploy/compose.yaml");
    let mounts = items(&compose).filter(|item| item.starts_with('.'));
    let mounts = mounts.map(|item| item.split(':').next().unwrap());
    let secrets = compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("file: "));
    let paths: Vec<&str> = mounts.chain(secrets).collect();
    assert!(paths.len() >= 6, "{paths:?}");
    for path in paths {
        assert!(root().join("deploy").join(path).exists(), "{path}");
    }
}

#[test]
fn grafana_finds_the_data_source_and_the_dashboards() {
    let compose = read("deploy/compose.yaml");
    let provider = read("deploy/grafana/provisioning/dashboards/tallyd.yaml");
    let folder = provider
        .lines()
        .find_map(|line| line.trim().strip_prefix("path: "));
    let mounted = format!("../dashboards/grafana:{}:ro", folder.unwrap());
    assert!(items(&compose).any(|item| item == mounted), "{mounted}");
    let source = read("deploy/grafana/provisioning/datasources/prometheus.yaml");
    assert!(source.contains("type: prometheus") && source.contains("isDefault: true"));
}

#[test]
#[ignore = "needs promtool"]
fn promtool_reads_the_configuration_of_the_evaluation() {
    let place = Place::new();
    let here = root();
    let config = read("deploy/prometheus/evaluation.yml");
    let token = here.join("deploy/demo/token");
    let rules = here.join("alarms/prometheus.rules.yaml");
    let config = config.replace("/run/secrets/token", token.to_str().unwrap());
    let config = config.replace("/etc/prometheus/rules/*.yaml", rules.to_str().unwrap());
    let config = place.write("evaluation.yml", &config);
    let checked = Command::new("promtool")
        .args(["check", "config"])
        .arg(config)
        .output();
    let checked = checked.unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
}
