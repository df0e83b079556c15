//! Settings that a policy describes: the host shows them, and refuses a wrong value with the
//! description beside it.

use std::fmt;

use super::guest_log::harmless;

/// Longest text of a description, in bytes.
const LONGEST: usize = 300;
/// Longest list of words that a setting takes, in bytes.
const LONGEST_CHOICE: usize = 4096;
/// Settings that an error names.
const SHOWN: usize = 30;

/// A setting, as the policy describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// What values it takes.
    pub kind: Kind,
    /// Value if the setting is absent; None if it is required.
    pub default: Option<String>,
    /// One sentence for the administrator.
    pub doc: String,
}

impl Setting {
    /// The beginning of the names of a family of settings: `plan.` if it is called `plan.*`.
    fn family(&self) -> Option<&str> {
        self.name.strip_suffix('*').filter(|family| family.ends_with('.'))
    }

    /// Whether it describes the setting of this name.
    fn describes(&self, name: &str) -> bool {
        self.name == name
            || self.family().is_some_and(|family| name.len() > family.len() && name.starts_with(family))
    }
}

/// The values that a setting takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A duration such as `9m30s`.
    Duration,
    /// A size such as `32MiB`.
    Size,
    /// A whole number, not negative.
    Number,
    /// Any text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Choice(Vec<String>),
    /// A kind that this host does not know, which it does not check.
    Other(String),
}

impl Kind {
    /// From the word of a description.
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "duration" => Self::Duration,
            "size" => Self::Size,
            "number" => Self::Number,
            "text" => Self::Text,
            "boolean" => Self::Boolean,
            word if word.contains('|') => {
                Self::Choice(harmless(word, LONGEST_CHOICE).split('|').map(str::to_owned).collect())
            }
            word => Self::Other(harmless(word, LONGEST)),
        }
    }

    /// Whether it takes a value.
    #[must_use]
    pub fn takes(&self, value: &str) -> bool {
        match self {
            Self::Duration => reprieve_settings::duration(value).is_some(),
            Self::Size => reprieve_settings::size(value).is_some(),
            Self::Number => value.parse::<u64>().is_ok(),
            Self::Boolean => matches!(value, "true" | "false"),
            Self::Choice(words) => words.iter().any(|word| word == value),
            Self::Text | Self::Other(_) => true,
        }
    }
}

/// As an administrator reads it: `a duration such as 9m30s`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duration => f.write_str("a duration such as 9m30s"),
            Self::Size => f.write_str("a size such as 32MiB"),
            Self::Number => f.write_str("a number"),
            Self::Text => f.write_str("a text"),
            Self::Boolean => f.write_str("true or false"),
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Self::Other(word) => f.write_str(word),
        }
    }
}

/// Makes a description harmless for terminals and logs: it comes from untrusted code.
pub(crate) fn cleaned(settings: Vec<Setting>) -> Vec<Setting> {
    let clean = |text: &str| harmless(text, LONGEST);
    let cleaned = settings.into_iter().map(|setting| Setting {
        name: clean(&setting.name),
        kind: setting.kind,
        default: setting.default.as_deref().map(clean),
        doc: clean(&setting.doc),
    });
    cleaned.collect()
}

/// Checks settings against their descriptions.
///
/// # Errors
/// What is wrong with the first wrong one, with its description.
pub(crate) fn check(described: &[Setting], given: &[(String, String)]) -> Result<(), String> {
    for (name, value) in given {
        let Some(setting) = described.iter().find(|setting| setting.describes(name)) else {
            return Err(format!("unknown setting `{name}`; known settings: {}", known(described)));
        };
        if !setting.kind.takes(value) {
            let default = setting.default.as_ref().map(|default| format!(" (default {default})"));
            return Err(format!(
                "`{name}` is \"{}\"; it is {}{}: {}",
                harmless(value, LONGEST),
                setting.kind,
                default.unwrap_or_default(),
                setting.doc
            ));
        }
    }
    let missing = described.iter().find(|setting| {
        setting.default.is_none()
            && setting.family().is_none()
            && !given.iter().any(|(name, _)| *name == setting.name)
    });
    match missing {
        Some(setting) => {
            Err(format!("`{}` is required; it is {}: {}", setting.name, setting.kind, setting.doc))
        }
        None => Ok(()),
    }
}

/// Names of settings, for an error.
fn known(described: &[Setting]) -> String {
    let names: Vec<_> = described.iter().take(SHOWN).map(|setting| &*setting.name).collect();
    match described.len() - names.len() {
        0 => names.join(", "),
        others => format!("{} and {others} others", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described() -> Vec<Setting> {
        [
            ("interval", "duration", Some("10m"), "How long to wait."),
            ("limit", "size", Some("1MiB"), "How much to keep."),
            ("count", "number", Some("3"), "How many."),
            ("reset", "daily|never", Some("daily"), "When to reset."),
            ("loud", "boolean", Some("false"), "Whether to log."),
            ("name", "text", None, "What to say."),
            ("shape", "polygon", Some("square"), "A kind of a later version."),
            ("plan.*", "duration", None, "How long users of a plan wait."),
        ]
        .map(|(name, kind, default, doc)| Setting {
            name: name.to_owned(),
            kind: Kind::of(kind),
            default: default.map(str::to_owned),
            doc: doc.to_owned(),
        })
        .into()
    }

    fn checked(given: &[(&str, &str)]) -> Result<(), String> {
        let given: Vec<_> = given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        check(&described(), &given)
    }

    #[test]
    fn a_description_has_no_control_characters_and_errors_have_an_end() {
        let kinds = ["\u{1b}[2J", "one|\u{1b}[2J", &"word|".repeat(100_000)].map(Kind::of);
        for kind in kinds {
            let text = kind.to_string();
            assert!(text.len() < 10_000, "{} bytes", text.len());
            assert!(!text.chars().any(reprieve_text::escape::is_active), "{text}");
        }
        let many = vec![described().remove(0); 10_000];
        let error = check(&many, &[("other".to_owned(), String::new())]).unwrap_err();
        assert!(error.len() < 2_000, "{} bytes", error.len());
        assert!(
            error.contains("known settings: interval, interval") && error.ends_with("and 9970 others"),
            "{error}"
        );
    }

    #[test]
    fn right_values_are_taken() {
        for pair in [
            ("interval", "9m30s"),
            ("limit", "32KiB"),
            ("count", "0"),
            ("reset", "never"),
            ("loud", "true"),
            ("shape", "round"),
            ("plan.gold", "5m"),
        ] {
            assert_eq!(checked(&[("name", "x"), pair]), Ok(()), "{pair:?}");
        }
    }

    #[test]
    fn a_wrong_value_is_refused_with_the_description() {
        for (pair, expected) in [
            (("interval", "soon"), "a duration such as 9m30s (default 10m): How long to wait."),
            (("limit", "much"), "a size such as 32MiB (default 1MiB): How much to keep."),
            (("count", "-1"), "a number (default 3): How many."),
            (("reset", "weekly"), "one of daily, never (default daily): When to reset."),
            (("loud", "yes"), "true or false (default false): Whether to log."),
            (("plan.gold", "soon"), "`plan.gold` is \"soon\"; it is a duration such as 9m30s: How long"),
            (("plan.", "5m"), "unknown setting `plan.`"),
            (("intervall", "1m"), "unknown setting `intervall`; known settings: interval, limit"),
        ] {
            let error = checked(&[("name", "x"), pair]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(checked(&[]).unwrap_err().contains("`name` is required; it is a text: What to say."));
    }
}
