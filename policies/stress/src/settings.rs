//! The policy's settings.

use reprieve_policy_settings::{Description, choice, duration_s, milliseconds, unknown};

use crate::bindings::exports::reprieve::policy::settings::Setting;
use crate::bindings::reprieve::policy::types::Manner;
use crate::rule::{Signal, Signals};

#[derive(Debug)]
pub(crate) struct Settings {
    /// At the maximum of stress.
    pub(crate) interval_s: u32,
    pub(crate) signals: Signals,
    pub(crate) manner: Manner,
    /// Whether the upgrade of a denied login counts as a login.
    pub(crate) counts_upgrades: bool,
}

const MANNERS: [(&str, Manner); 3] =
    [("unchanged", Manner::Unchanged), ("empty", Manner::Empty), ("busy", Manner::Busy)];
const UPGRADES: [(&str, bool); 2] = [("count", true), ("ignore", false)];

/// In the order of the README.
const DESCRIPTIONS: [Description; 6] = [
    Description {
        name: "interval",
        kind: "duration",
        default: "10m",
        doc: "How long a user waits between logins at 100 % stress.",
    },
    Description {
        name: "sessions",
        kind: "text",
        default: "100 to 400",
        doc: "Sessions per healthy node at no stress and at 100 % stress.",
    },
    Description {
        name: "waiting",
        kind: "text",
        default: "0 to 50",
        doc: "Logins waiting for a node at no stress and at 100 % stress.",
    },
    Description {
        name: "latency",
        kind: "text",
        default: "200ms to 2s",
        doc: "How long logins take at the nodes at no stress and at 100 % stress.",
    },
    Description {
        name: "manner",
        kind: "unchanged|empty|busy",
        default: "unchanged",
        doc: "How a denial is shown.",
    },
    Description {
        name: "upgrades",
        kind: "count|ignore",
        default: "count",
        doc: "Whether a denied login that continues at the mail server counts as a login.",
    },
];

pub(crate) fn describe() -> Vec<Setting> {
    let described = DESCRIPTIONS.iter().map(|setting| Setting {
        name: setting.name.to_owned(),
        type_: setting.kind.to_owned(),
        default: Some(setting.default.to_owned()),
        doc: setting.doc.to_owned(),
    });
    described.collect()
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval_s: 600,
            signals: Signals {
                sessions: Signal { low: 100, high: 400 },
                waiting: Signal { low: 0, high: 50 },
                latency: Signal { low: 200, high: 2000 },
            },
            manner: Manner::Unchanged,
            counts_upgrades: true,
        }
    }
}

impl Settings {
    pub(crate) fn parse(given: &[(String, String)]) -> Result<Self, String> {
        let mut settings = Self::default();
        for (key, value) in given {
            let signals = &mut settings.signals;
            match key.as_str() {
                "interval" => settings.interval_s = duration_s(key, value)?,
                "sessions" => signals.sessions = signal(key, value, number, "\"100 to 400\"")?,
                "waiting" => signals.waiting = signal(key, value, number, "\"0 to 50\"")?,
                "latency" => signals.latency = signal(key, value, milliseconds, "\"200ms to 2s\"")?,
                "manner" => settings.manner = choice(key, value, &MANNERS)?,
                "upgrades" => settings.counts_upgrades = choice(key, value, &UPGRADES)?,
                _ => return Err(unknown(key, &DESCRIPTIONS)),
            }
        }
        Ok(settings)
    }
}

/// Parses `100 to 400`.
fn signal(key: &str, value: &str, read: fn(&str) -> Option<u64>, example: &str) -> Result<Signal, String> {
    value
        .split_once(" to ")
        .and_then(|(low, high)| Some(Signal { low: read(low.trim())?, high: read(high.trim())? }))
        .filter(|signal| signal.low < signal.high)
        .ok_or_else(|| {
            format!(
                "`{key}` is \"{value}\"; it reads like {example}: the values of no stress and of full stress"
            )
        })
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(key: &str, value: &str) -> Result<Settings, String> {
        Settings::parse(&[(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn each_setting_is_read() {
        assert_eq!(parse("interval", "1h").unwrap().interval_s, 3600);
        let latency = parse("latency", "500ms to 3s").unwrap().signals.latency;
        assert_eq!(latency, Signal { low: 500, high: 3000 });
        assert_eq!(parse("waiting", "5 to 6").unwrap().signals.waiting, Signal { low: 5, high: 6 });
        assert!(!parse("upgrades", "ignore").unwrap().counts_upgrades);
    }

    #[test]
    fn each_description_has_the_default() {
        let default = format!("{:?}", Settings::default());
        for setting in DESCRIPTIONS {
            assert_eq!(format!("{:?}", parse(setting.name, setting.default).unwrap()), default);
            for word in setting.kind.split('|').filter(|_| setting.kind.contains('|')) {
                assert!(parse(setting.name, word).is_ok(), "{} {word}", setting.name);
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (key, value, expected) in [
            ("interval", "soon", "10m"),
            ("sessions", "400 to 100", "\"100 to 400\""),
            ("sessions", "+1 to 5", "\"100 to 400\""),
            ("latency", "200", "\"200ms to 2s\""),
            ("manner", "refuse", "\"busy\""),
            ("level", "3", "known settings: interval"),
        ] {
            let error = parse(key, value).unwrap_err();
            assert!(error.contains(expected) && error.contains(&format!("`{key}`")), "{error}");
        }
    }
}
