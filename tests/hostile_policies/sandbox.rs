//! What a policy cannot reach.

use reprieve_policy_host::harness::Harness;

use super::pair::{Pair, hostile};
use crate::support::{guests, mail_server};

#[test]
fn a_policy_finds_no_files_environment_arguments_or_network() {
    let mut harness = Harness::of(&guests::hostile().display().to_string())
        .setting("at", "decide")
        .setting("how", "look-around")
        .build()
        .unwrap();
    let decision = harness.login("alice");
    assert_eq!(decision.pass().expect("a pass").note.as_deref(), Some(format!("{:?}", [false; 8]).as_str()));
}

#[test]
fn with_an_instance_per_call_nothing_is_left_for_the_next_call() {
    let mail = mail_server(1);
    for (isolation, recycled) in [("reuse", 3), ("call", 20)] {
        let name = format!("grow-{isolation}");
        let more = format!("isolation = \"{isolation}\"\nlimits = {{ memory = \"24MiB\", time = \"1s\" }}");
        let pair = Pair::start(&name, &hostile("decide", "grow", &more), mail.address()).unwrap();
        for _ in 0..20 {
            assert!(pair.answer().starts_with("+OK"));
        }
        let metrics = pair.metrics();
        assert_eq!(metrics.failures.iter().map(|(_, count)| count).sum::<u64>(), 0, "{metrics:?}");
        assert!(metrics.started >= recycled, "{isolation}: {metrics:?}");
    }
}
