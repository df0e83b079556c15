//! Deliveries into the users' inboxes, as mail servers log them: each is new mail that a POP3 client
//! can fetch. Deliveries into other folders, forwarded messages and messages that are handed to a
//! content filter are none.
//!
//! ```text
//! … mx postfix/lmtp[812]: 4F1B2C0D: to=<alice@example.org>, relay=mx[private/dovecot-lmtp], delay=0.42, delays=…, dsn=2.0.0, status=sent (250 2.0.0 <alice@example.org> CVN5Bcsl Saved)
//! … mx dovecot: lmtp(alice)<812><CVN5Bcsl>: msgid=<1@example.org>: saved mail to INBOX
//! … mx dovecot: lda(alice)<812><CVN5Bcsl>: sieve: msgid=<1@example.org>: stored mail into mailbox 'INBOX'
//! 2026-11-27 22:11:26 1vOabc-00000000Dk1-2abc => alice <alice@example.org> R=local_user T=maildir_home
//! … mx courierlocal: id=0038C081.4D026173.000051A4,from=<bob@example.net>,addr=<alice@example.org>,size=329,success: Message delivered.
//! ```
//!
//! Postfix 2.x to 3.x, Dovecot 2.0 to 2.4 with the default `deliver_log_format`, Exim 4, Courier 0.6x
//! to 1.x.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::fields::between;
use super::timestamp::{self, LogTimestamp};
use super::{syslog, user_name};
use crate::calendar::Calendar;

/// The most names that a delivery has.
const MAX_NAMES: usize = 8;
/// The programs of Postfix that put a message into a maildrop, or hand it to one that does. Mail that
/// leaves by SMTP is somebody else's.
const POSTFIX_AGENTS: [&str; 4] = ["lmtp", "virtual", "local", "pipe"];

/// The server that logged a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agent {
    Postfix,
    Dovecot,
    Exim,
    Courier,
}

/// A message that was delivered into an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The recipient as the log names them. More than one name if any of several may be the one that
    /// clients log in with: Exim logs the local part and the address, and mail to `alice+news` is alice's.
    pub users: Vec<String>,
    pub(crate) agent: Agent,
    timestamp: Option<LogTimestamp>,
}

impl Delivery {
    /// Time of the delivery in milliseconds since 1970, if the line has a year and a time zone.
    #[must_use]
    pub fn at_ms(&self) -> Option<u64> {
        match self.timestamp? {
            LogTimestamp::Absolute(at, offset) => {
                u64::try_from(offset.to_timestamp(at).ok()?.as_millisecond()).ok()
            }
            LogTimestamp::Yearless { .. } | LogTimestamp::Local(_) => None,
        }
    }

    /// Time of the delivery in milliseconds since 1970; `calendar` has the year and the time zone that
    /// the line may lack.
    pub(crate) fn resolve(&self, calendar: &mut Calendar) -> Option<u64> {
        self.timestamp?.resolve(calendar)
    }
}

/// Parses a line of a log file. None if it is about something else.
///
/// # Errors
/// Why a line that is about a delivery cannot be parsed.
pub fn parse_line(line: &str) -> Result<Option<Delivery>, &'static str> {
    if !may_be_delivery(line) {
        return Ok(None);
    }
    // Dovecot 1 began the lines of its own log file with its name.
    let line = line.strip_prefix("dovecot: ").unwrap_or(line);
    let (timestamp, recipient) = if let Some((timestamp, rest)) = own_log_file(line) {
        (timestamp, by(Agent::Dovecot, dovecot(rest)).or_else(|| by(Agent::Exim, exim(rest))))
    } else {
        let Some(split) = syslog::split(line) else { return Ok(None) };
        (split.timestamp, parse_syslog(split.tag, split.message))
    };
    let Some((agent, users)) = recipient.transpose()? else { return Ok(None) };
    Ok(Some(Delivery { users, agent, timestamp: Some(timestamp) }))
}

/// Parses a message of the journal or of syslog, which has no timestamp of its own. `program` is the
/// syslog identifier. None if it is about something else.
///
/// # Errors
/// Why a message that is about a delivery cannot be parsed.
pub fn parse_message(program: &str, message: &str) -> Result<Option<Delivery>, &'static str> {
    if !may_be_delivery(message) {
        return Ok(None);
    }
    let recipient = parse_syslog(program, message).transpose()?;
    Ok(recipient.map(|(agent, users)| Delivery { users, agent, timestamp: None }))
}

/// The names of a recipient, or why a line about a delivery has none. None: no delivery.
type Recipient = Option<Result<Vec<String>, &'static str>>;

/// The same, with the server.
type LoggedRecipient = Option<Result<(Agent, Vec<String>), &'static str>>;

fn by(agent: Agent, recipient: Recipient) -> LoggedRecipient {
    recipient.map(|names| names.map(|names| (agent, names)))
}

fn parse_syslog(program: &str, message: &str) -> LoggedRecipient {
    if let Some((_, agent)) = program.rsplit_once('/')
        && POSTFIX_AGENTS.contains(&agent)
    {
        return by(Agent::Postfix, postfix(agent, message));
    }
    match program {
        "dovecot" => by(Agent::Dovecot, dovecot(message)),
        "courierlocal" => by(Agent::Courier, courier(message)),
        "exim" | "exim4" => {
            let text = timestamp::parse_prefix(message).map_or(message, |(_, rest)| rest);
            by(Agent::Exim, exim(text))
        }
        _ => None,
    }
}

/// Whether a line has one of the words without which it is no delivery: most lines have none.
fn may_be_delivery(line: &str) -> bool {
    static WORDS: LazyLock<[Finder<'static>; 6]> = LazyLock::new(|| {
        ["status=sent", "saved mail to ", "stored mail into ", " => ", " -> ", "success"].map(Finder::new)
    });
    WORDS.iter().any(|word| word.find(line.as_bytes()).is_some())
}

/// The time of a line in Dovecot's or Exim's own log file, and what follows it. They have neither a
/// host name nor a program, and Dovecot's user names may have spaces.
fn own_log_file(line: &str) -> Option<(LogTimestamp, &str)> {
    let (timestamp, rest) = timestamp::parse_prefix(line)?;
    (DOVECOT_AGENTS.iter().any(|agent| rest.starts_with(agent)) || exim_flag(rest).is_some())
        .then_some((timestamp, rest))
}

/// The name if it is valid.
fn names<'a>(found: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>, &'static str> {
    let mut names: Vec<String> = Vec::new();
    for name in found.into_iter().take(MAX_NAMES) {
        let name = user_name(name).ok_or("a delivery to an invalid user name")?;
        if !names.iter().any(|other| other == name) {
            names.push(name.to_owned());
        }
    }
    if names.is_empty() { Err("a delivery without a recipient") } else { Ok(names) }
}

/// Adds names that the recipient may log in with. A false one costs a poll, a missing one delays mail.
fn add(names: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for name in more {
        if names.len() < MAX_NAMES && !names.contains(&name) && user_name(&name).is_some() {
            names.push(name);
        }
    }
}

/// Adds the names without their extensions: mail to `alice+news@example.org` is stored for
/// `alice@example.org`.
fn add_without_extensions(names: &mut Vec<String>) {
    let without = |name: &String| {
        let (local, domain) = name.split_at(name.rfind('@').unwrap_or(name.len()));
        let (user, _) = local.split_once('+')?;
        (!user.is_empty() && !user.starts_with('"')).then(|| format!("{user}{domain}"))
    };
    let more: Vec<_> = names.iter().filter_map(without).collect();
    add(names, more);
}

/// Adds the local part of the last address: the name of a user of the system.
fn add_local_part(names: &mut Vec<String>) {
    let local = names.last().and_then(|address| address.rsplit_once('@')).map(|(local, _)| local.to_owned());
    add(names, local);
}

/// `4F1B2C0D: to=<alice@example.org>, orig_to=<postmaster>, relay=…, …, status=sent (…)`
fn postfix(agent: &str, message: &str) -> Recipient {
    let (_, after) = message.split_once(", status=sent")?;
    let answer = after.strip_prefix(" (").unwrap_or(after);
    // Local aliases, and content filters that send the message back.
    let is_elsewhere = ["forwarded as ", "delivered to file: "].iter().any(|text| answer.starts_with(text))
        || ["queued as ", "from MTA("].iter().any(|text| answer.contains(text));
    if is_elsewhere {
        return None;
    }
    let Some((_, recipient)) = message.split_once(": to=<") else {
        return Some(Err("a delivery without to=<…>"));
    };
    let end = [">, orig_to=<", ">, relay="].iter().filter_map(|end| recipient.find(end)).min();
    let Some(end) = end else { return Some(Err("a delivery without an end of to=<…>")) };
    Some(names([&recipient[..end]]).map(|mut names| {
        add_without_extensions(&mut names);
        if agent == "local" {
            add_local_part(&mut names);
        }
        names
    }))
}

/// How the processes that deliver begin their lines.
const DOVECOT_AGENTS: [&str; 3] = ["lmtp(", "lda(", "deliver("];

/// `lmtp(alice)<812><CVN5Bcsl>: msgid=<…>: saved mail to INBOX`; up to 2.2
/// `lmtp(812, alice): CVN5Bcsl: msgid=…` and `lda(alice): msgid=…`.
fn dovecot(message: &str) -> Recipient {
    let prefix = DOVECOT_AGENTS.iter().find_map(|agent| message.strip_prefix(agent))?;
    // The message id is the sender's text. A false signal costs a poll, a missed one delays mail: any
    // place that names the inbox counts.
    let is_inbox = |words: &str| {
        message.match_indices(words).any(|(at, words)| {
            let mailbox = &message[at + words.len()..];
            let mailbox = mailbox.strip_prefix('\'').unwrap_or(mailbox);
            mailbox.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("INBOX"))
                && matches!(mailbox.as_bytes().get(5), None | Some(b' ' | b'\'' | b',' | b';' | b'('))
        })
    };
    if !is_inbox(": saved mail to ") && !is_inbox(": stored mail into mailbox ") {
        return None;
    }
    let end = [")<", "): "].iter().filter_map(|end| prefix.find(end)).min();
    let Some(end) = end else { return Some(Err("a delivery without a user in parentheses")) };
    let user = &prefix[..end];
    let user = match user.split_once(", ") {
        Some((pid, user))
            if message.starts_with("lmtp(") && pid.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            user
        }
        _ => user,
    };
    Some(names([user]))
}

/// What follows the time of a line about a delivery: the part after `=>`, or `->` for a further
/// recipient. Before it are the time zone and the process, if `log_selector` or `log_timezone` has
/// them, and the message id.
fn exim_flag(text: &str) -> Option<&str> {
    let mut words = text.splitn(5, ' ');
    let is_id = |word: &str| {
        matches!(word.len(), 16 | 23)
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && word.bytes().filter(|byte| *byte == b'-').count() == 2
    };
    let mut word = words.next()?;
    for _ in 0..2 {
        if word.starts_with(['+', '-', '[']) {
            word = words.next()?;
        }
    }
    if !is_id(word) || !matches!(words.next()?, "=>" | "->") {
        return None;
    }
    let rest = words.next()?;
    Some(&text[rest.as_ptr().addr() - text.as_ptr().addr()..])
}

/// `1vOabc-00000000Dk1-2abc => alice (staff@example.org) <info@example.org> F=<…> R=local_user T=maildir_home S=…`
fn exim(text: &str) -> Recipient {
    let after = exim_flag(text)?;
    let (_, fields) = after.split_once(" T=")?;
    let transport = fields.split(' ').next().unwrap_or("");
    // A transport with a host is another server, except for LMTP.
    let is_remote = fields.contains(" H=") && !transport.to_ascii_lowercase().contains("lmtp");
    // `>` is the recipient of an automatic reply.
    let is_elsewhere = after.starts_with(['>', ':']) || after.starts_with("/dev/null ");
    if is_remote || is_elsewhere || transport == "**bypassed**" {
        return None;
    }
    let end = [" F=<", " P=<", " R=", " T="].iter().filter_map(|end| after.find(end)).min()?;
    let recipient = &after[..end];
    let (recipient, original) = match recipient.strip_suffix('>').and_then(|text| text.rsplit_once(" <")) {
        Some((recipient, original)) => (recipient, Some(original)),
        None => (recipient, None),
    };
    let parts = recipient.split(" (").map(|part| part.strip_suffix(')').unwrap_or(part)).chain(original);
    // Files, folders and commands stand for the recipient who has redirected mail to them.
    let is_name = |name: &&str| !name.starts_with(['/', '|', '>']) && !name.is_empty();
    let mut names = match names(parts.clone().filter(is_name)) {
        Ok(names) => names,
        Err(why) => return Some(Err(why)),
    };
    add(&mut names, answered_address(fields));
    add_without_extensions(&mut names);
    if let (Some(first), Some((local, domain))) =
        (parts.clone().next(), original.and_then(|address| address.rsplit_once('@')))
    {
        match is_name(&first) {
            true if !first.contains('@') => add(&mut names, [format!("{first}@{domain}")]),
            true => {}
            false => add(&mut names, [local.to_owned()]),
        }
    }
    Some(Ok(names))
}

/// The address in an LMTP server's answer, such as `C="250 2.0.0 <alice@example.org> YpJWFhs3 Saved"`: of a
/// redirected message, Exim logs the address before and only the local part after.
fn answered_address(fields: &str) -> Option<String> {
    let (_, answer) = fields.split_once(" C=\"250 2.0.0 <")?;
    answer.split_once("> ").map(|(address, _)| address.to_owned())
}

/// `id=…,from=<bob@example.net>,addr=<alice@example.org>,size=329,success: Message delivered.`
fn courier(message: &str) -> Recipient {
    if !message.contains(",success") && !message.contains(",status: success") {
        return None;
    }
    let Some(at) = message.rfind(",addr=<") else { return Some(Err("a delivery without addr=<…>")) };
    let Some(user) = between(&message[at..], "<", ">,") else {
        return Some(Err("a delivery without an end of addr=<…>"));
    };
    // The local module logs what it has forwarded, too.
    (!message[at..].contains("forwarded")).then(|| {
        names([user]).map(|mut names| {
            add_local_part(&mut names);
            names
        })
    })
}

#[cfg(test)]
mod tests;
