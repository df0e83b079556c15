//! Reprieve's own decision log, read as `reprieve replay --to-scenario` does.
//!
//! The scenarios that are made of any log can be read again, with as many logins as were selected.

use std::cell::OnceCell;
use std::fs;

use jiff::tz::TimeZone;
use reprieve_policy_host::Rules;
use reprieve_policy_host::scenario::Scenario;
use reprieve_replay::{Format, LogSource, Plan, PolicySource, Progress, Selection, to_scenario};
use tempfile::NamedTempFile;

thread_local! {
    /// The log.
    static FILE: OnceCell<NamedTempFile> = const { OnceCell::new() };
}

/// See the head of this file.
pub fn decision_log(data: &[u8]) {
    let path = FILE.with(|file| {
        let file = file.get_or_init(|| NamedTempFile::new().expect("a file"));
        fs::write(file.path(), data).expect("writing the log");
        file.path().to_owned()
    });
    let plan = Plan {
        logs: vec![LogSource::Path(path)],
        format: Some(Format::DecisionLog),
        zone: TimeZone::UTC,
        year: None,
        selection: Selection::default(),
        policy: PolicySource { component: "interval".to_owned(), settings: Vec::new() },
        baseline: None,
        rules: Rules::default(),
        pools: vec!["mail".to_owned()],
        login_cost: None,
        top_pollers: 10,
    };
    let Ok(written) = to_scenario(&plan, &Progress::default()) else { return };
    assert!(!written.text.chars().any(|it| it.is_control() && it != '\n'), "{:?}", written.text);
    if written.logins == 0 {
        return;
    }
    let scenarios = match Scenario::parse(&written.text, "written.toml", "interval") {
        Ok(scenarios) => scenarios,
        Err(error) => panic!("{error}\n{}", written.text),
    };
    let logins: usize = scenarios.iter().map(|scenario| scenario.login_lines().len()).sum();
    assert_eq!(logins, written.logins, "{}", written.text);
}
