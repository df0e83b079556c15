//! The policy's settings.

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

/// Name, type, default and description of each setting, in the order of the README.
const DESCRIPTIONS: [(&str, &str, &str, &str); 9] = [
    (
        "interval",
        "duration",
        "10m",
        "How long Reprieve answers a user after a login; with 0s every login passes.",
    ),
    (
        "longest-interval",
        "duration",
        "1h",
        "How long Reprieve answers a user who has no new mail for sure; at least interval.",
    ),
    (
        "new-mail",
        "pass|wait",
        "pass",
        "Whether a user with new mail passes at once; with wait, news of mail changes nothing.",
    ),
    ("reset", "daily|never", "daily", "Whether each user passes once on a new day."),
    (
        "memory-limit",
        "size",
        "32MiB",
        "Maximum size of the remembered users; when it is exceeded, all users are forgotten.",
    ),
    ("manner", "unchanged|empty|busy|refuse|disconnect", "unchanged", "How a denial is shown."),
    (
        "start",
        "authenticated|login",
        "authenticated",
        "Whether the clock starts when the mail server accepts a login, or when a login passes.",
    ),
    (
        "upgrades",
        "count|ignore",
        "count",
        "Whether a denied login that continues at the mail server starts the clock again.",
    ),
    ("busy-after", "number", "0", "Upgrades in a row after which a denial is shown as busy; 0 for never."),
];

pub(crate) fn describe() -> Vec<Setting> {
    let described = DESCRIPTIONS.iter().map(|(name, kind, default, doc)| Setting {
        name: (*name).to_owned(),
        type_: (*kind).to_owned(),
        default: Some((*default).to_owned()),
        doc: (*doc).to_owned(),
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
                "busy-after" => settings.busy_after = number(key, value)?,
                _ => {
                    let known: Vec<_> = DESCRIPTIONS.iter().map(|(name, ..)| *name).collect();
                    return Err(format!("unknown setting `{key}`; known settings: {}", known.join(", ")));
                }
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

fn choice<T: Copy>(key: &str, value: &str, known: &[(&str, T)]) -> Result<T, String> {
    known.iter().find(|(name, _)| *name == value).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!("`{key}` is \"{value}\"; it can be {}", names.join(", "))
    })
}

fn number(key: &str, value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("`{key}` is \"{value}\"; it is a number such as 3"))
}

/// A duration of one or more units, such as `90s` or `9m30s`.
fn duration_ms(key: &str, value: &str) -> Result<u64, String> {
    let wrong = || format!("`{key}` is \"{value}\"; a duration reads like \"90s\", \"10m\" or \"1h30m\"");
    let (mut rest, mut sum) = (value, 0_u64);
    loop {
        let (number, after) = split_unit(rest).ok_or_else(wrong)?;
        let length = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = after.split_at(length);
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(factor).ok_or_else(wrong)?;
        sum = sum.checked_add(part).ok_or_else(wrong)?;
        rest = tail.trim_start();
        if rest.is_empty() {
            return Ok(sum);
        }
    }
}

fn size_bytes(key: &str, value: &str) -> Result<u64, String> {
    let wrong = || format!("`{key}` is \"{value}\"; a size reads like \"100KiB\" or \"32MiB\"");
    let (number, unit) = split_unit(value).ok_or_else(wrong)?;
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

fn split_unit(value: &str) -> Option<(u64, &str)> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
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
    fn durations_have_one_or_more_units() {
        for (value, ms) in [
            ("9m30s", 570_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1d", 86_400_000),
            ("2s5ms", 2_005),
        ] {
            assert_eq!(parse(&[("interval", value)]).unwrap().interval_ms, ms, "{value}");
        }
        for value in ["", "9", "m", "9m30", "9m 30s x", "-1m"] {
            assert!(parse(&[("interval", value)]).is_err(), "{value}");
        }
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
