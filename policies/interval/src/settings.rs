//! The policy's settings.

use crate::bindings::reprieve::policy::types::Manner;

/// When a user's clock starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// When the mail server has accepted the login.
    Authenticated,
    /// When the login passes, whether or not its secret is right.
    Login,
}

#[derive(Debug)]
pub(crate) struct Settings {
    /// With zero every login passes.
    pub(crate) interval_ms: u64,
    pub(crate) daily_reset: bool,
    /// Bytes of the store above which all users are forgotten.
    pub(crate) memory_limit: u64,
    pub(crate) manner: Manner,
    pub(crate) start: Start,
}

const KNOWN_SETTINGS: &str = "interval, reset, memory-limit, manner, start";

impl Settings {
    pub(crate) fn parse(given: &[(String, String)]) -> Result<Self, String> {
        let mut settings = Self {
            interval_ms: 10 * 60 * 1000,
            daily_reset: true,
            memory_limit: 32 << 20,
            manner: Manner::Unchanged,
            start: Start::Authenticated,
        };
        for (key, value) in given {
            match key.as_str() {
                "interval" => settings.interval_ms = duration_ms(key, value)?,
                "reset" => settings.daily_reset = choice(key, value, &[("daily", true), ("never", false)])?,
                "memory-limit" => settings.memory_limit = size_bytes(key, value)?,
                "manner" => {
                    settings.manner = choice(
                        key,
                        value,
                        &[
                            ("unchanged", Manner::Unchanged),
                            ("empty", Manner::Empty),
                            ("busy", Manner::Busy),
                            ("refuse", Manner::Refuse),
                            ("disconnect", Manner::Disconnect),
                        ],
                    )?;
                }
                "start" => {
                    settings.start = choice(
                        key,
                        value,
                        &[("authenticated", Start::Authenticated), ("login", Start::Login)],
                    )?;
                }
                _ => return Err(format!("unknown setting `{key}`; known settings: {KNOWN_SETTINGS}")),
            }
        }
        Ok(settings)
    }

    /// Seconds until a stamp expires: rounded up, so that it never expires within the interval.
    pub(crate) fn time_to_live(&self) -> Option<u32> {
        Some(u32::try_from(self.interval_ms.div_ceil(1000)).unwrap_or(u32::MAX))
    }
}

/// The store's key, one per maildrop, from the unchanged names. The host has folded their case if
/// `user-name-case` of the virtual server says so; a policy that folded it by itself could deny one
/// user because of another user's login.
///
/// A master user has a separate clock for each maildrop that they open. With a single one, each login
/// would restart it, and it might never run out.
pub(crate) fn key(user: String, authorization_id: Option<&str>) -> String {
    let mut key = user;
    if let Some(acting) = authorization_id {
        // User names contain no NUL.
        key.push('\0');
        key.push_str(acting);
    }
    key
}

fn choice<T: Copy>(key: &str, value: &str, known: &[(&str, T)]) -> Result<T, String> {
    known.iter().find(|(name, _)| *name == value).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!("`{key}` is \"{value}\"; it can be {}", names.join(", "))
    })
}

fn duration_ms(key: &str, value: &str) -> Result<u64, String> {
    let wrong = || format!("`{key}` is \"{value}\"; a duration reads like \"90s\", \"10m\" or \"1h\"");
    let (number, unit) = split_unit(value).ok_or_else(wrong)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
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
    use std::collections::HashSet;

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
            ("reset", "never"),
            ("memory-limit", "100KiB"),
            ("manner", "busy"),
            ("start", "login"),
        ])
        .unwrap();
        assert_eq!(settings.interval_ms, 90_000);
        assert!(!settings.daily_reset);
        assert_eq!(settings.memory_limit, 102_400);
        assert_eq!(settings.manner, Manner::Busy);
        assert_eq!(settings.start, Start::Login);
    }

    #[test]
    fn every_maildrop_has_its_own_key() {
        let logins = [
            ("root", None),
            ("Root", None),
            ("root", Some("alice")),
            ("root", Some("Alice")),
            ("root", Some("bob")),
            ("rootalice", None),
            ("roota", Some("lice")),
        ];
        let keys: HashSet<_> = logins.iter().map(|(user, acting)| key((*user).to_owned(), *acting)).collect();
        assert_eq!(keys.len(), logins.len(), "{keys:?}");
        assert!(keys.contains("Root") && keys.contains("root\0alice"), "{keys:?}");
    }

    #[test]
    fn an_error_names_the_setting_and_what_would_be_right() {
        assert!(parse(&[("intervall", "1m")]).unwrap_err().contains("interval, reset"));
        // A setting of the virtual server.
        assert!(parse(&[("user-name-case", "fold")]).unwrap_err().contains("`user-name-case`"));
        assert!(parse(&[("interval", "soon")]).unwrap_err().contains("10m"));
        assert!(parse(&[("interval", "99999999999999999999d")]).unwrap_err().contains("10m"));
        assert!(parse(&[("manner", "rude")]).unwrap_err().contains("\"unchanged\""));
        assert!(parse(&[("memory-limit", "12 furlongs")]).unwrap_err().contains("MiB"));
    }
}
