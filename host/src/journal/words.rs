//! The WIT's words, as logs and traces write them.

use crate::policy::{Ending, Manner, Mechanism, ResponseCode, Standing};

pub(crate) fn mechanism(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::UserPass => "user-pass",
        Mechanism::Plain => "plain",
        Mechanism::Login => "login",
        Mechanism::Xoauth2 => "xoauth2",
        Mechanism::Oauthbearer => "oauthbearer",
        Mechanism::External => "external",
        Mechanism::Apop => "apop",
        Mechanism::CramMd5 => "cram-md5",
        Mechanism::ScramSha256 => "scram-sha256",
        Mechanism::Other => "other",
    }
}

pub(crate) fn manner(manner: Manner) -> &'static str {
    match manner {
        Manner::Unchanged => "unchanged",
        Manner::Empty => "empty",
        Manner::Busy => "busy",
        Manner::Refuse => "refuse",
        Manner::Disconnect => "disconnect",
    }
}

pub(crate) fn code(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::LoginDelay => "login-delay",
        ResponseCode::InUse => "in-use",
        ResponseCode::SysTemp => "sys-temp",
        ResponseCode::SysPerm => "sys-perm",
        ResponseCode::Auth => "auth",
    }
}

pub(crate) fn outcome(ending: Ending) -> &'static str {
    match ending {
        Ending::Authenticated => "authenticated",
        Ending::Rejected => "rejected",
        Ending::Unreachable => "unreachable",
        Ending::Abandoned => "abandoned",
    }
}

pub(crate) fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Known => "known",
        Standing::Changed => "changed",
        Standing::Unknown => "unknown",
    }
}
