//! The limits of a connection that has not logged in: bad commands, refused commands, failed logins.

use super::context::Settings;
use super::session_record::SessionEnd;
use reprieve_pop3::reply;

/// Logins that no mail server judged before the connection is closed. They say nothing about the
/// password, so the limit is higher than the one for failed logins.
const MAX_UNJUDGED: u32 = 20;

/// The last line to the client, and how the session ends.
type Close = (&'static [u8], SessionEnd);

/// Counts what a client does before it has logged in.
#[derive(Debug, Default)]
pub(super) struct AttemptLimits {
    unknown: u32,
    refused: u32,
    failed: u32,
    unjudged: u32,
}

impl AttemptLimits {
    /// Counts a command that is unknown or not possible now. `Some`: there were too many.
    pub(super) fn command(&mut self, is_unknown: bool, settings: &Settings) -> Option<Close> {
        self.refused += 1;
        self.unknown += u32::from(is_unknown);
        let exceeded = self.unknown >= settings.max_bad_commands_before_login
            || self.refused >= settings.max_bad_commands;
        exceeded.then_some((reply::TOO_MANY_BAD, SessionEnd::BadCommands))
    }

    /// Counts a login that failed. `is_judged`: the secret was judged. `Some`: there were too many.
    pub(super) fn login(&mut self, is_judged: bool, settings: &Settings) -> Option<Close> {
        if is_judged {
            self.failed += 1;
            let exceeded = self.failed >= settings.max_failed_logins;
            return exceeded.then_some((reply::TOO_MANY_FAILED, SessionEnd::FailedLogins));
        }
        self.unjudged += 1;
        (self.unjudged >= MAX_UNJUDGED).then_some((reply::TOO_MANY_UNJUDGED, SessionEnd::UnjudgedLogins))
    }
}
