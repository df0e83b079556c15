//! The policy's settings.

use reprieve_policy_settings::{Description, choice, duration_ms, number, size_bytes, unknown};

use crate::bindings::exports::reprieve::policy::settings::Setting;
use crate::bindings::reprieve::policy::types::Manner;

/// When a user's clock starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// When the mail server has accepted the login.
    Authenticated,
    /// When the login passes, whether or not its secret is right.
    Login,
}

/// What the upgrade of a denied login is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upgrades {
    /// A login: it starts the clock again.
    Count,
    /// Nothing.
    Ignore,
}

/// What becomes of a user with new mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewMail {
    /// They pass at once. If there is none for sure, they wait longer.
    Pass,
    /// They wait like anybody else.
    Wait,
}

#[derive(Debug)]
pub(crate) struct Settings {
    /// With zero every login passes.
    pub(crate) interval_ms: u64,
    /// For users who have no new mail for sure; at least `interval_ms`.
    pub(crate) longest_interval_ms: u64,
    pub(crate) new_mail: NewMail,
    pub(crate) daily_reset: bool,
    /// Bytes of the store above which all users are forgotten.
    pub(crate) memory_limit: u32,
    pub(crate) manner: Manner,
    pub(crate) start: Start,
    pub(crate) upgrades: Upgrades,
    /// Upgrades in a row after which a denial is shown as busy; 0 for never.
    pub(crate) busy_after: u32,
}

const MINUTE_MS: u64 = 60 * 1000;
const LONGEST_INTERVAL_MS: u64 = 60 * MINUTE_MS;

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval_ms: 10 * MINUTE_MS,
            longest_interval_ms: LONGEST_INTERVAL_MS,
            new_mail: NewMail::Pass,
            daily_reset: true,
            memory_limit: 32 << 20,
            manner: Manner::Unchanged,
            start: Start::Authenticated,
            upgrades: Upgrades::Count,
            busy_after: 0,
        }
    }
}

const MANNERS: [(&str, Manner); 5] = [
    ("unchanged", Manner::Unchanged),
    ("empty", Manner::Empty),
    ("busy", Manner::Busy),
    ("refuse", Manner::Refuse),
    ("disconnect", Manner::Disconnect),
];
const STARTS: [(&str, Start); 2] = [("authenticated", Start::Authenticated), ("login", Start::Login)];
const NEW_MAIL: [(&str, NewMail); 2] = [("pass", NewMail::Pass), ("wait", NewMail::Wait)];
const UPGRADES: [(&str, Upgrades); 2] = [("count", Upgrades::Count), ("ignore", Upgrades::Ignore)];

/// In the order of the README.
const DESCRIPTIONS: [Description; 9] = [
    Description {
        name: "interval",
        kind: "duration",
        default: "10m",
        doc: "How long Reprieve answers a user after a login; with 0s every login passes.",
    },
    Description {
        name: "longest-interval",
        kind: "duration",
        default: "1h",
        doc: "How long Reprieve answers a user who has no new mail for sure; at least interval.",
    },
    Description {
        name: "new-mail",
        kind: "pass|wait",
        default: "pass",
        doc: "Whether a user with new mail passes at once; with wait, news of mail changes nothing.",
    },
    Description {
        name: "reset",
        kind: "daily|never",
        default: "daily",
        doc: "Whether each user passes once on a new day.",
    },
    Description {
        name: "memory-limit",
        kind: "size",
        default: "32MiB",
        doc: "Maximum size of the remembered users; when it is exceeded, all users are forgotten.",
    },
    Description {
        name: "manner",
        kind: "unchanged|empty|busy|refuse|disconnect",
        default: "unchanged",
        doc: "How a denial is shown.",
    },
    Description {
        name: "start",
        kind: "authenticated|login",
        default: "authenticated",
        doc: "Whether the clock starts when the mail server accepts a login, or when a login passes.",
    },
    Description {
        name: "upgrades",
        kind: "count|ignore",
        default: "count",
        doc: "Whether a denied login that continues at the mail server starts the clock again.",
    },
    Description {
        name: "busy-after",
        kind: "number",
        default: "0",
        doc: "Upgrades in a row after which a denial is shown as busy; 0 for never.",
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

impl Settings {
    pub(crate) fn parse(given: &[(String, String)]) -> Result<Self, String> {
        let mut settings = Self::default();
        let mut longest_interval_ms = None;
        for (key, value) in given {
            match key.as_str() {
                "interval" => settings.interval_ms = duration_ms(key, value)?,
                "longest-interval" => longest_interval_ms = Some(duration_ms(key, value)?),
                "new-mail" => settings.new_mail = choice(key, value, &NEW_MAIL)?,
                "reset" => settings.daily_reset = choice(key, value, &[("daily", true), ("never", false)])?,
                "memory-limit" => {
                    settings.memory_limit = u32::try_from(size_bytes(key, value)?).unwrap_or(u32::MAX);
                }
                "manner" => settings.manner = choice(key, value, &MANNERS)?,
                "start" => settings.start = choice(key, value, &STARTS)?,
                "upgrades" => settings.upgrades = choice(key, value, &UPGRADES)?,
                "busy-after" => settings.busy_after = number(key, value, 0, 1000)?,
                _ => return Err(unknown(key, &DESCRIPTIONS)),
            }
        }
        settings.longest_interval_ms = match longest_interval_ms {
            Some(longest_ms) if longest_ms < settings.interval_ms => {
                return Err(
                    "`longest-interval` is shorter than `interval`; it must be at least as long".to_owned()
                );
            }
            Some(longest_ms) => longest_ms,
            None => settings.interval_ms.max(LONGEST_INTERVAL_MS),
        };
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let owned: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Settings::parse(&owned)
    }

    #[test]
    fn the_defaults_are_ten_minutes_daily_and_unchanged() {
        let settings = parse(&[]).unwrap();
        assert_eq!(settings.interval_ms, 600_000);
        assert!(settings.daily_reset);
        assert_eq!(settings.manner, Manner::Unchanged);
        assert_eq!(settings.start, Start::Authenticated);
    }

    #[test]
    fn every_setting_is_parsed() {
        let settings = parse(&[
            ("interval", "90s"),
            ("longest-interval", "2h"),
            ("new-mail", "wait"),
            ("reset", "never"),
            ("memory-limit", "100KiB"),
            ("manner", "busy"),
            ("start", "login"),
            ("upgrades", "ignore"),
            ("busy-after", "3"),
        ])
        .unwrap();
        assert_eq!(settings.interval_ms, 90_000);
        assert_eq!(settings.longest_interval_ms, 7_200_000);
        assert_eq!(settings.new_mail, NewMail::Wait);
        assert!(!settings.daily_reset);
        assert_eq!(settings.memory_limit, 102_400);
        assert_eq!(settings.manner, Manner::Busy);
        assert_eq!(settings.start, Start::Login);
        assert_eq!(settings.upgrades, Upgrades::Ignore);
        assert_eq!(settings.busy_after, 3);
    }

    #[test]
    fn the_longest_interval_is_not_shorter_than_the_interval() {
        let longest_ms = |pairs: &[_]| parse(pairs).map(|settings| settings.longest_interval_ms);
        assert_eq!(longest_ms(&[("interval", "12h")]), Ok(43_200_000));
        assert_eq!(longest_ms(&[("longest-interval", "20m"), ("interval", "20m")]), Ok(1_200_000));
        let error = longest_ms(&[("longest-interval", "20m"), ("interval", "30m")]).unwrap_err();
        assert!(error.contains("`longest-interval` is shorter than `interval`"), "{error}");
    }

    #[test]
    fn each_description_is_right() {
        for Setting { name, type_, default, .. } in describe() {
            let default = default.unwrap();
            assert!(parse(&[(&name, &default)]).is_ok(), "{name}");
            for word in type_.split('|').filter(|_| type_.contains('|')) {
                assert!(parse(&[(&name, word)]).is_ok(), "{name} {word}");
            }
            let parsed = format!("{:?}", parse(&[(&name, &default)]).unwrap());
            assert_eq!(parsed, format!("{:?}", Settings::default()), "{name}");
        }
    }

    #[test]
    fn an_error_names_the_setting_and_what_would_be_right() {
        assert!(parse(&[("intervall", "1m")]).unwrap_err().contains("interval, longest-interval"));
        // A setting of the virtual server.
        assert!(parse(&[("user-name-case", "fold")]).unwrap_err().contains("`user-name-case`"));
        assert!(parse(&[("interval", "soon")]).unwrap_err().contains("10m"));
        assert!(parse(&[("interval", "99999999999999999999d")]).unwrap_err().contains("10m"));
        assert!(parse(&[("manner", "rude")]).unwrap_err().contains("\"unchanged\""));
        assert!(parse(&[("memory-limit", "12 furlongs")]).unwrap_err().contains("MiB"));
    }
}
