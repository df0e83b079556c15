//! Users to log in with: generated from a pattern, or read from a file.

use std::path::Path;

use anyhow::{Context as _, bail};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// The users of a run; sessions take turns with them.
#[derive(Debug)]
pub(crate) enum Users {
    Generated {
        pattern: Pattern,
        /// Number of the first user.
        first: u64,
        count: u64,
        /// The same for all users.
        password: String,
    },
    /// Never empty.
    FromFile(Vec<Account>),
}

impl Users {
    /// Reads `user:password` lines; empty lines and `#` comments are ignored.
    pub(crate) fn from_file(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let accounts = parse(&text).with_context(|| path.display().to_string())?;
        Ok(Self::FromFile(accounts))
    }

    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Generated { count, .. } => *count,
            Self::FromFile(accounts) => accounts.len() as u64,
        }
    }

    /// The user of the session with this number.
    pub(crate) fn for_session(&self, session: u64) -> Account {
        let turn = session % self.count();
        match self {
            Self::Generated { pattern, first, password, .. } => {
                Account { user: pattern.name(first + turn), password: password.clone() }
            }
            Self::FromFile(accounts) => accounts[turn as usize].clone(),
        }
    }
}

fn parse(text: &str) -> anyhow::Result<Vec<Account>> {
    let mut accounts = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // Without the line itself: it may contain a password, and the error may end up in a log.
        let Some((user, password)) = line.split_once(':').filter(|(user, _)| !user.is_empty()) else {
            bail!("line {} is not user:password", index + 1);
        };
        accounts.push(Account { user: user.to_string(), password: password.to_string() });
    }
    if accounts.is_empty() {
        bail!("no user in this file");
    }
    Ok(accounts)
}

/// A format such as `user%06d@example.org`: a placeholder for a number, with its minimum width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    before: String,
    number: Option<Width>,
    after: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Width {
    width: usize,
    zeros: bool,
}

impl Pattern {
    pub(crate) fn has_number(&self) -> bool {
        self.number.is_some()
    }

    fn name(&self, number: u64) -> String {
        let Self { before, after, .. } = self;
        match self.number {
            None => before.clone(),
            Some(Width { width, zeros: true }) => format!("{before}{number:0width$}{after}"),
            Some(Width { width, zeros: false }) => format!("{before}{number:width$}{after}"),
        }
    }
}

impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains(['\r', '\n']) {
            return Err("a user name must be one line and not empty".to_string());
        }
        let Some((before, rest)) = text.split_once('%') else {
            return Ok(Self { before: text.to_string(), number: None, after: String::new() });
        };
        let wrong = || format!("`%{rest}` is not a placeholder for a number; use %d, or %06d for six digits");
        let (width, after) = rest.split_once('d').ok_or_else(wrong)?;
        if !width.bytes().all(|byte| byte.is_ascii_digit()) || width.len() > 2 || after.contains('%') {
            return Err(wrong());
        }
        let number = Width { width: width.parse().unwrap_or(0), zeros: width.starts_with('0') };
        Ok(Self { before: before.to_string(), number: Some(number), after: after.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_users_as_printf_would() {
        let name = |pattern: &str, number| pattern.parse::<Pattern>().unwrap().name(number);
        assert_eq!(name("user%06d", 12), "user000012");
        assert_eq!(name("u%d@example.org", 7), "u7@example.org");
        assert_eq!(name("u%3d", 7), "u  7");
        assert_eq!(name("alice", 7), "alice");
        for wrong in ["user%s", "user%", "u%d%d", "u%-3d", "", "a\r\nb"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn users_take_turns() {
        let users = Users::Generated {
            pattern: "u%d".parse().unwrap(),
            first: 5,
            count: 3,
            password: "secret".to_string(),
        };
        let names: Vec<_> = (0..4).map(|session| users.for_session(session).user).collect();
        assert_eq!(names, ["u5", "u6", "u7", "u5"]);
    }

    #[test]
    fn a_password_may_contain_colons_and_an_invalid_line_is_not_quoted() {
        let accounts = parse("# staff\nanna:a:b\n\nbert:\n").unwrap();
        let anna = Account { user: "anna".to_string(), password: "a:b".to_string() };
        assert_eq!(accounts[0], anna);
        assert_eq!(accounts[1].password, "");
        assert_eq!(parse("anna:x\nhunter2\n").unwrap_err().to_string(), "line 2 is not user:password");
        assert!(parse("# nobody\n").is_err());
    }
}
