use super::*;
use crate::config::{Config, Environment};

fn aws(text: &str) -> Aws {
    let config = Config::parse(text, &Environment::default()).unwrap();
    Aws::new(&config.aws).unwrap()
}

#[test]
fn before_it_is_asked_for_nothing_is_known() {
    let aws = aws("");
    assert_eq!(aws.state(), State::Off);
    assert!(aws.cloudwatch().is_err());
    assert_eq!(aws.problems(), []);
}

#[test]
fn a_problem_stays_until_a_call_succeeds_and_what_passes_is_none() {
    let aws = aws("");
    let permission = Permission::anywhere("cloudwatch:ListMetrics");
    let failure = |kind, code: &str| Failure {
        kind,
        code: code.to_owned(),
        message: "Rate exceeded".to_owned(),
    };
    aws.note(&permission, Err(&failure(Kind::Throttled, "Throttling")));
    assert_eq!(aws.problems(), []);
    aws.note(&permission, Err(&failure(Kind::Denied, "AccessDenied")));
    aws.note(&permission, Err(&failure(Kind::Throttled, "Throttling")));
    assert_eq!(
        aws.problems(),
        [Problem {
            action: "cloudwatch:ListMetrics",
            line: "cloudwatch:ListMetrics: AccessDenied: Rate exceeded; allow it with \
                   {\"Effect\":\"Allow\",\"Action\":\"cloudwatch:ListMetrics\",\"Resource\":\"*\"}"
                .to_owned(),
            open: "cloudwatch:ListMetrics: denied; allow it with \
                   {\"Effect\":\"Allow\",\"Action\":\"cloudwatch:ListMetrics\",\"Resource\":\"*\"}"
                .to_owned(),
        }]
    );
    aws.note(&permission, Ok(()));
    assert_eq!(aws.problems(), []);
}
