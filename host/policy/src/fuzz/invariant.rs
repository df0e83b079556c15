//! What holds for a policy in any history.

/// A rule that policies keep, unless it contradicts their purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// No call fails.
    Failure,
    /// Reused and fresh instances decide alike.
    OwnMemory,
    /// `retry-after` is right.
    RetryAfter,
    /// A denial ends within two days.
    Reset,
    /// A rejected login changes nothing for the user.
    WrongPassword,
    /// Other users change nothing for the user.
    OtherUsers,
    /// An unknown secret is not refused if a known one passes.
    Unknown,
    /// New mail is no reason to deny a login.
    NewMail,
    /// The store stops growing.
    Store,
}

impl Invariant {
    /// All invariants, by name. Failures come first, because they would be mistaken for others.
    pub const ALL: [(&'static str, Self); 9] = [
        ("failure", Self::Failure),
        ("own-memory", Self::OwnMemory),
        ("retry-after", Self::RetryAfter),
        ("reset", Self::Reset),
        ("wrong-password", Self::WrongPassword),
        ("other-users", Self::OtherUsers),
        ("unknown", Self::Unknown),
        ("new-mail", Self::NewMail),
        ("store", Self::Store),
    ];

    /// Its name, in reports and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, one)| *one == self).map_or("", |(name, _)| name)
    }

    /// The rule in one sentence.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Failure => "No call of the policy fails, whatever the login.",
            Self::OwnMemory => {
                "A fresh instance decides as a reused one does: the policy keeps no state in its own memory."
            }
            Self::RetryAfter => {
                "After a denial with retry-after, the same login passes that many seconds later, and is still \
                 denied two seconds earlier."
            }
            Self::Reset => {
                "A user with a known secret who has not logged in for two days passes, whatever happened before."
            }
            Self::WrongPassword => {
                "Rejected logins of somebody who guesses the password change no later decision about the user."
            }
            Self::OtherUsers => "Logins of other users change no decision about the user.",
            Self::Unknown => {
                "A login whose secret is unknown is not refused or disconnected if it would pass with a known \
                 secret: it may be the right one."
            }
            Self::NewMail => {
                "A login that goes to the mail server if nothing is known about new mail also goes there if \
                 there is new mail."
            }
            Self::Store => {
                "If the same number of new users logs in every day, the store does not grow after the second day."
            }
        }
    }
}
