//! The WIT's words, as settings, scenarios, logs and metrics write them.

use super::{Ending, Manner, Mechanism, ResponseCode, Standing};

/// The words for manners.
pub const MANNERS: [(&str, Manner); 5] = [
    ("unchanged", Manner::Unchanged),
    ("empty", Manner::Empty),
    ("busy", Manner::Busy),
    ("refuse", Manner::Refuse),
    ("disconnect", Manner::Disconnect),
];

/// The words for response codes.
pub const RESPONSE_CODES: [(&str, ResponseCode); 5] = [
    ("login-delay", ResponseCode::LoginDelay),
    ("in-use", ResponseCode::InUse),
    ("sys-temp", ResponseCode::SysTemp),
    ("sys-perm", ResponseCode::SysPerm),
    ("auth", ResponseCode::Auth),
];

/// The words for how logins at mail servers end.
pub const ENDINGS: [(&str, Ending); 4] = [
    ("authenticated", Ending::Authenticated),
    ("rejected", Ending::Rejected),
    ("unreachable", Ending::Unreachable),
    ("abandoned", Ending::Abandoned),
];

/// The words for what is known of a secret.
pub const STANDINGS: [(&str, Standing); 3] =
    [("known", Standing::Known), ("changed", Standing::Changed), ("unknown", Standing::Unknown)];

/// The words for mechanisms.
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

/// Something of the WIT that has a word.
pub trait Worded: Copy + PartialEq + 'static {
    /// All of its kind, with their words.
    const WORDS: &'static [(&'static str, Self)];

    /// Its word.
    #[must_use]
    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, one)| *one == self);
        found.map_or("", |(word, _)| word)
    }

    /// What a word means, where it means one of these.
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

    /// Each value has a word of its own, and the word leads back to it.
    fn lead_back<T: Worded + std::fmt::Debug>() {
        for (word, one) in T::WORDS {
            assert_eq!(one.word(), *word, "{one:?}");
            assert_eq!(T::of(word), Some(*one), "{word}");
        }
        assert_eq!(T::of("no such word"), None);
    }

    #[test]
    fn words_lead_back_to_what_they_stand_for() {
        lead_back::<Manner>();
        lead_back::<ResponseCode>();
        lead_back::<Ending>();
        lead_back::<Standing>();
        lead_back::<Mechanism>();
    }
}
