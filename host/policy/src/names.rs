//! Names of the WIT's enumeration values in settings, scenarios, logs and metrics.

use super::{Ending, Manner, Mechanism, ResponseCode, Standing};

/// Names of manners.
pub const MANNERS: [(&str, Manner); 5] = [
    ("unchanged", Manner::Unchanged),
    ("empty", Manner::Empty),
    ("busy", Manner::Busy),
    ("refuse", Manner::Refuse),
    ("disconnect", Manner::Disconnect),
];

/// Names of response codes.
pub const RESPONSE_CODES: [(&str, ResponseCode); 5] = [
    ("login-delay", ResponseCode::LoginDelay),
    ("in-use", ResponseCode::InUse),
    ("sys-temp", ResponseCode::SysTemp),
    ("sys-perm", ResponseCode::SysPerm),
    ("auth", ResponseCode::Auth),
];

/// Names of outcomes.
pub const ENDINGS: [(&str, Ending); 4] = [
    ("authenticated", Ending::Authenticated),
    ("rejected", Ending::Rejected),
    ("unreachable", Ending::Unreachable),
    ("abandoned", Ending::Abandoned),
];

/// Names of standings.
pub const STANDINGS: [(&str, Standing); 3] =
    [("known", Standing::Known), ("changed", Standing::Changed), ("unknown", Standing::Unknown)];

/// Names of mechanisms.
pub const MECHANISMS: [(&str, Mechanism); 10] = [
    ("user-pass", Mechanism::UserPass),
    ("plain", Mechanism::Plain),
    ("login", Mechanism::Login),
    ("xoauth2", Mechanism::Xoauth2),
    ("oauthbearer", Mechanism::Oauthbearer),
    ("external", Mechanism::External),
    ("apop", Mechanism::Apop),
    ("cram-md5", Mechanism::CramMd5),
    ("scram-sha-256", Mechanism::ScramSha256),
    ("other", Mechanism::Other),
];

/// An enumeration of the WIT whose values have names.
pub trait Worded: Copy + PartialEq + 'static {
    /// All values with their names.
    const WORDS: &'static [(&'static str, Self)];

    /// The name.
    #[must_use]
    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, one)| *one == self);
        found.map_or("", |(word, _)| word)
    }

    /// The value with this name.
    #[must_use]
    fn of(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, one)| *one)
    }
}

macro_rules! worded {
    ($($of:ty: $words:ident),+ $(,)?) => {
        $(impl Worded for $of {
            const WORDS: &'static [(&'static str, Self)] = &$words;
        })+
    };
}

worded! {
    Manner: MANNERS,
    ResponseCode: RESPONSE_CODES,
    Ending: ENDINGS,
    Standing: STANDINGS,
    Mechanism: MECHANISMS,
}

impl Mechanism {
    /// Whether the client proves the secret without sending it, so that Reprieve never sees it:
    /// APOP, CRAM-MD5 and SCRAM.
    #[must_use]
    pub fn hides_secret(self) -> bool {
        matches!(self, Self::Apop | Self::CramMd5 | Self::ScramSha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each value has its own name, and the name leads back to it.
    fn lead_back<T: Worded + std::fmt::Debug>() {
        for (word, one) in T::WORDS {
            assert_eq!(one.word(), *word, "{one:?}");
            assert_eq!(T::of(word), Some(*one), "{word}");
        }
        assert_eq!(T::of("no such word"), None);
    }

    #[test]
    fn names_lead_back_to_their_values() {
        lead_back::<Manner>();
        lead_back::<ResponseCode>();
        lead_back::<Ending>();
        lead_back::<Standing>();
        lead_back::<Mechanism>();
    }
}
