//! The policy's settings.

use reprieve_policy_settings::{Description, choice, duration_s, number, unknown};

use crate::bindings::exports::reprieve::policy::settings::Setting;
use crate::bindings::reprieve::policy::types::Manner;
use crate::rule::Interval;

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) interval: Interval,
    pub(crate) manner: Manner,
    /// Whether the upgrade of a denied login counts as a login.
    pub(crate) counts_upgrades: bool,
}

const MANNERS: [(&str, Manner); 5] = [
    ("unchanged", Manner::Unchanged),
    ("empty", Manner::Empty),
    ("busy", Manner::Busy),
    ("refuse", Manner::Refuse),
    ("disconnect", Manner::Disconnect),
];
const UPGRADES: [(&str, bool); 2] = [("count", true), ("ignore", false)];

/// In the order of the README.
const DESCRIPTIONS: [Description; 5] = [
    Description {
        name: "min-interval",
        kind: "duration",
        default: "2m",
        doc: "Shortest interval between logins of a user, while mail arrives.",
    },
    Description {
        name: "max-interval",
        kind: "duration",
        default: "30m",
        doc: "Longest interval between logins of a user, however long no mail has arrived.",
    },
    Description {
        name: "divisor",
        kind: "number",
        default: "6",
        doc: "The interval is the time that the maildrop has been unchanged divided by this.",
    },
    Description {
        name: "manner",
        kind: "unchanged|empty|busy|refuse|disconnect",
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
            interval: Interval { shortest_s: 120, longest_s: 1800, divisor: 6 },
            manner: Manner::Unchanged,
            counts_upgrades: true,
        }
    }
}

impl Settings {
    pub(crate) fn parse(given: &[(String, String)]) -> Result<Self, String> {
        let mut settings = Self::default();
        let interval = &mut settings.interval;
        for (key, value) in given {
            match key.as_str() {
                "min-interval" => interval.shortest_s = duration_s(key, value)?,
                "max-interval" => interval.longest_s = duration_s(key, value)?,
                "divisor" => interval.divisor = number(key, value, 1, 1000)?,
                "manner" => settings.manner = choice(key, value, &MANNERS)?,
                "upgrades" => settings.counts_upgrades = choice(key, value, &UPGRADES)?,
                _ => return Err(unknown(key, &DESCRIPTIONS)),
            }
        }
        let Interval { shortest_s, longest_s, .. } = settings.interval;
        if shortest_s > longest_s {
            return Err(format!(
                "`min-interval` is {shortest_s} s and `max-interval` is {longest_s} s; the first cannot be longer"
            ));
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(key: &str, value: &str) -> Result<Settings, String> {
        Settings::parse(&[(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn each_setting_is_read() {
        assert_eq!(parse("min-interval", "5m").unwrap().interval.shortest_s, 300);
        assert_eq!(parse("max-interval", "1h").unwrap().interval.longest_s, 3600);
        assert_eq!(parse("divisor", "10").unwrap().interval.divisor, 10);
        assert_eq!(parse("manner", "busy").unwrap().manner, Manner::Busy);
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
            ("min-interval", "soon", "10m"),
            ("min-interval", "1h", "`max-interval` is 1800 s"),
            ("divisor", "0", "from 1 to 1000"),
            ("manner", "rude", "\"busy\""),
            ("interval", "10m", "known settings: min-interval"),
        ] {
            let error = parse(key, value).unwrap_err();
            assert!(error.contains(expected) && error.contains(&format!("`{key}`")), "{error}");
        }
    }
}
