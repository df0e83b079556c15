//! The policy's settings.

use reprieve_policy_settings::{Description, choice, duration_s, number, unknown};

use crate::bindings::exports::reprieve::policy::settings::Setting;
use crate::bindings::reprieve::policy::types::Manner;

#[derive(Debug)]
pub(crate) struct Settings {
    /// Addresses per user and window.
    pub(crate) limit: u32,
    pub(crate) window_s: u32,
    pub(crate) manner: Manner,
    /// Length of the IPv6 prefix that counts as one address.
    pub(crate) ipv6_prefix: u8,
}

/// So that an entry of the store stays far below its limit.
const MOST_ADDRESSES: u32 = 500;

const MANNERS: [(&str, Manner); 5] = [
    ("unchanged", Manner::Unchanged),
    ("empty", Manner::Empty),
    ("busy", Manner::Busy),
    ("refuse", Manner::Refuse),
    ("disconnect", Manner::Disconnect),
];

/// In the order of the README.
const DESCRIPTIONS: [Description; 4] = [
    Description {
        name: "addresses",
        kind: "number",
        default: "5",
        doc: "Number of addresses that a user may log in from within the window.",
    },
    Description {
        name: "window",
        kind: "duration",
        default: "1h",
        doc: "How long an address counts after its last login.",
    },
    Description {
        name: "manner",
        kind: "unchanged|empty|busy|refuse|disconnect",
        default: "refuse",
        doc: "How a denial is shown.",
    },
    Description {
        name: "ipv6-prefix",
        kind: "number",
        default: "64",
        doc: "Length of the IPv6 prefix that counts as one address.",
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
        Self { limit: 5, window_s: 3600, manner: Manner::Refuse, ipv6_prefix: 64 }
    }
}

impl Settings {
    pub(crate) fn parse(given: &[(String, String)]) -> Result<Self, String> {
        let mut settings = Self::default();
        for (key, value) in given {
            match key.as_str() {
                "addresses" => settings.limit = number(key, value, 1, MOST_ADDRESSES)?,
                "window" => settings.window_s = window_s(key, value)?,
                "manner" => settings.manner = choice(key, value, &MANNERS)?,
                "ipv6-prefix" => {
                    settings.ipv6_prefix = u8::try_from(number(key, value, 0, 128)?).unwrap_or(128);
                }
                _ => return Err(unknown(key, &DESCRIPTIONS)),
            }
        }
        Ok(settings)
    }
}

fn window_s(key: &str, value: &str) -> Result<u32, String> {
    match duration_s(key, value)? {
        0 => Err(format!("`{key}` is \"{value}\"; it must be longer than that")),
        seconds => Ok(seconds),
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
        assert_eq!(parse("addresses", "1").unwrap().limit, 1);
        assert_eq!(parse("window", "1d").unwrap().window_s, 86_400);
        assert_eq!(parse("manner", "busy").unwrap().manner, Manner::Busy);
        assert_eq!(parse("ipv6-prefix", "48").unwrap().ipv6_prefix, 48);
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
            ("addresses", "0", "from 1 to 500"),
            ("window", "soon", "10m"),
            ("window", "0s", "longer"),
            ("manner", "rude", "\"busy\""),
            ("ipv6-prefix", "129", "from 0 to 128"),
            ("devices", "5", "known settings: addresses"),
        ] {
            let error = parse(key, value).unwrap_err();
            assert!(error.contains(expected) && error.contains(&format!("`{key}`")), "{error}");
        }
    }
}
