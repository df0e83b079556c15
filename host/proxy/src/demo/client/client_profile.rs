//! The command sequences with which real mail programs check for mail.

/// A command about the whole maildrop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListingCommand {
    Stat,
    List,
    Uidl,
}

/// The commands that one mail program sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientProfile {
    /// Name of the mail program.
    pub(crate) program: &'static str,
    /// Sends CAPA before the login.
    pub(crate) capa_before_login: bool,
    /// Sends CAPA after the login.
    pub(crate) capa_after_login: bool,
    /// Pipelines commands if the server announces PIPELINING.
    pub(crate) pipelines: bool,
    /// Sends LIST with the message number before each RETR.
    pub(crate) lists_each_message: bool,
    /// Commands after the login, in this order.
    pub(crate) commands: &'static [ListingCommand],
}

use ListingCommand::{List, Stat, Uidl};

/// Recorded from real mail programs whose maildrop had no new messages.
pub(crate) const PROFILES: [ClientProfile; 5] = [
    ClientProfile {
        program: "Thunderbird",
        capa_before_login: true,
        capa_after_login: false,
        pipelines: false,
        lists_each_message: false,
        commands: &[Stat, List, Uidl],
    },
    ClientProfile {
        program: "Claws Mail",
        capa_before_login: false,
        capa_after_login: false,
        pipelines: false,
        lists_each_message: true,
        commands: &[Stat, Uidl],
    },
    ClientProfile {
        program: "Evolution",
        capa_before_login: true,
        capa_after_login: true,
        pipelines: false,
        lists_each_message: false,
        commands: &[List, Uidl],
    },
    ClientProfile {
        program: "getmail",
        capa_before_login: false,
        capa_after_login: false,
        pipelines: false,
        lists_each_message: false,
        commands: &[Uidl, List, Uidl, List],
    },
    ClientProfile {
        program: "mpop",
        capa_before_login: true,
        capa_after_login: false,
        pipelines: true,
        lists_each_message: false,
        commands: &[Stat, List, Uidl],
    },
];
