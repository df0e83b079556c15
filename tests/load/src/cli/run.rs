//! The arguments of `reprieve-load run`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::mailbox::Mailbox;
use crate::scenario::{Expected, HoldStage, Script};
use crate::units::{Sources, duration, rate};
use crate::users::Pattern;

/// Put load on a POP3 server and check every reply.
///
/// The report counts sessions (real or denied) and errors by kind, with examples, and shows the
/// latencies of whole sessions (from connecting until the server closes) and of logins (from USER
/// to the reply to PASS).
///
/// Each reply must be well-formed, and STAT, LIST, UIDL and RETR must agree. With --messages and
/// --size as given to `reprieve-load serve` behind the server, every number, size, unique-id and
/// byte is checked.
///
/// Examples:
///
///   How fast is the server with 64 clients at a time?
///     reprieve-load run --connect mail.example:110 --users-file users.txt --scenario poll
///
///   How long does a session take at 200 sessions per second?
///     reprieve-load run --connect mail.example:110 --users-file users.txt \
///         --scenario poll-uidl --rate 200 --connections 500 --duration 1m
///
///   How fast does a proxy deny users who have just logged in, with an empty maildrop?
///     reprieve-load run --connect 127.0.0.1:1110 --users 1000 --warm-up \
///         --scenario poll --expect denied
///
///   What do 5000 idle sessions cost?
///     reprieve-load run --connect 127.0.0.1:1110 --scenario hold --stage login \
///         --connections 5000 --source 127.0.1.0/24 --hold-for 1m
///
/// Ctrl-C stops the run early and prints the report so far; a second Ctrl-C ends it at once.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RunArgs {
    /// Server to put load on, as HOST:PORT; can be repeated, then sessions take turns
    #[arg(long, value_name = "ADDR", required = true)]
    pub(crate) connect: Vec<String>,

    /// Commands that a session sends
    #[arg(long, value_enum)]
    pub(crate) scenario: Scenario,

    /// Number of sessions [default: 10000, or as many as fit into --duration]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) sessions: Option<u64>,

    /// Start no session after this time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,

    /// Concurrent sessions; in the scenario `hold`, the number of sessions to hold
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,

    /// Sessions to start per second [default: each when another has ended]. If all connections are
    /// busy, a session waits, and its latency includes the wait
    #[arg(long, value_name = "R", value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// Time after which a session counts as an error
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// Number of users; sessions take turns with them. Use more users than connections, because many
    /// servers allow one session per user at a time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) users: u64,

    /// Number of the first user
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) first_user: u64,

    /// Format of user names, with a placeholder for the number as in printf
    #[arg(long, value_name = "PATTERN", default_value = "user%06d")]
    pub(crate) user_format: Pattern,

    /// Password of all users
    #[arg(
        long,
        value_name = "P",
        default_value = "secret",
        env = "REPRIEVE_LOAD_PASSWORD",
        hide_env_values = true
    )]
    pub(crate) password: String,

    /// Read users from a file of `user:password` lines; lines that begin with # are ignored
    #[arg(long, value_name = "FILE", conflicts_with_all = ["users", "first_user", "user_format", "password"])]
    pub(crate) users_file: Option<PathBuf>,

    /// Log in each user once before measuring. The figures do not include it, but its errors count
    #[arg(long)]
    pub(crate) warm_up: bool,

    /// What sessions must see. Reprieve's denials show the maildrop unchanged by default, which is
    /// `real`
    #[arg(long, value_enum, default_value_t = Expected::Real)]
    pub(crate) expect: Expected,

    /// Messages per maildrop, if `reprieve-load serve` is behind the server
    #[arg(long, value_name = "N", requires = "size", value_parser = clap::value_parser!(u32).range(..=i64::from(Mailbox::MAX_MESSAGES)))]
    pub(crate) messages: Option<u32>,

    /// Size of each message in bytes
    #[arg(long, value_name = "BYTES", requires = "messages", value_parser = clap::value_parser!(u32).range(i64::from(Mailbox::MIN_SIZE)..=i64::from(Mailbox::MAX_SIZE)))]
    pub(crate) size: Option<u32>,

    /// When to hold a session in the scenario `hold`
    #[arg(long, value_enum, default_value_t = HoldStage::Login)]
    pub(crate) stage: HoldStage,

    /// How long to hold sessions after all of them are open, which a line announces
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) hold_for: Duration,

    /// Address to connect from, or a network such as 127.0.1.0/24 whose addresses take turns
    #[arg(long, value_name = "ADDR")]
    pub(crate) source: Option<Sources>,

    /// Use TLS from the first byte, as on port 995, with a full handshake per session
    #[arg(long)]
    pub(crate) tls: bool,

    /// Certificate authorities to trust, in PEM [default: the system trust store]
    #[arg(long, value_name = "FILE", requires = "tls", conflicts_with = "insecure")]
    pub(crate) ca: Option<PathBuf>,

    /// Accept any certificate
    #[arg(long, requires = "tls")]
    pub(crate) insecure: bool,

    /// Print one line of JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

impl RunArgs {
    /// Number of sessions if neither --sessions nor --duration is given.
    pub(crate) const DEFAULT_SESSIONS: u64 = 10_000;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// USER, PASS, STAT, QUIT
    Poll,
    /// CAPA, USER, PASS, STAT, LIST, UIDL, QUIT
    PollUidl,
    /// USER, PASS, STAT, LIST, RETR of all messages, QUIT
    Bulk,
    /// Connect, wait for --hold-for, QUIT: one session per connection, all at once
    Hold,
}

impl Scenario {
    /// The value on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::PollUidl => "poll-uidl",
            Self::Bulk => "bulk",
            Self::Hold => "hold",
        }
    }

    /// The commands of its sessions; `None` if they are held.
    pub(crate) fn script(self) -> Option<Script> {
        match self {
            Self::Poll => Some(Script::Poll),
            Self::PollUidl => Some(Script::PollUidl),
            Self::Bulk => Some(Script::Bulk),
            Self::Hold => None,
        }
    }
}
