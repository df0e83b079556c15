//! The arguments of `reprieve-load run`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::mailbox::Mailbox;
use crate::scenario::{Expected, Rest, Visit};
use crate::units::{Sources, duration, rate};
use crate::users::Pattern;

/// Load a POP3 server, and check every answer.
///
/// Sessions are counted by what they were shown, errors by their kind with the first examples,
/// and latencies by their distribution: of whole sessions, from the connection to the server's
/// closing it, and of logins, from USER to the answer to PASS.
///
/// What is checked is the form of each answer, and that STAT, LIST, UIDL and RETR agree. With
/// --messages and --size, which are those of `reprieve-load serve` behind the server, numbers,
/// sizes, unique-ids and every octet of a message are held against what they must be.
///
/// Examples:
///
///   How fast is it, 64 clients at a time?
///     reprieve-load run --connect mail.example:110 --users-file users.txt --scenario poll
///
///   How long does a session take while 200 come each second?
///     reprieve-load run --connect mail.example:110 --users-file users.txt \
///         --scenario poll-uidl --rate 200 --connections 500 --duration 1m
///
///   Does a proxy with nothing to show deny who comes again, and how fast?
///     reprieve-load run --connect 127.0.0.1:1110 --users 1000 --warm-up \
///         --scenario poll --expect denied
///
///   What do 5000 sessions cost that do nothing?
///     reprieve-load run --connect 127.0.0.1:1110 --scenario hold --stage login \
///         --connections 5000 --source 127.0.1.0/24 --hold-for 1m
///
/// Ctrl-C ends the run early, and the report is of what there was; a second one ends at once.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RunArgs {
    /// Server to load, as HOST:PORT; several take turns
    #[arg(long, value_name = "ADDR", required = true)]
    pub(crate) connect: Vec<String>,

    /// What a session does
    #[arg(long, value_enum)]
    pub(crate) scenario: Scenario,

    /// Sessions in all [default: 10000, or as many as fit in --duration]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) sessions: Option<u64>,

    /// Begin no session after this time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,

    /// Sessions at a time; with the scenario `hold`, those that are held
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,

    /// Sessions to begin each second, instead of each when another has ended. Where all
    /// connections are busy a session waits, and the waiting counts
    #[arg(long, value_name = "R", value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// Time that a session may take before it is an error
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// Users that sessions take turns with. Have more than connections: many servers let a user in
    /// only once at a time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) users: u64,

    /// Number of the first of them
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) first_user: u64,

    /// Names of the users, with a place for their number as in printf
    #[arg(long, value_name = "PATTERN", default_value = "user%06d")]
    pub(crate) user_format: Pattern,

    /// Password of all of them
    #[arg(
        long,
        value_name = "P",
        default_value = "secret",
        env = "REPRIEVE_LOAD_PASSWORD",
        hide_env_values = true
    )]
    pub(crate) password: String,

    /// Users of a file of `user:password` lines instead; lines that begin with # are left out
    #[arg(long, value_name = "FILE", conflicts_with_all = ["users", "first_user", "user_format", "password"])]
    pub(crate) users_file: Option<PathBuf>,

    /// Log each user in once before, whatever comes of it. It does not count in the figures, but its
    /// errors are errors
    #[arg(long)]
    pub(crate) warm_up: bool,

    /// What sessions must be shown. Reprieve denies by showing the maildrop as it was, unless its
    /// policy has another manner: that is `real`
    #[arg(long, value_enum, default_value_t = Expected::Real)]
    pub(crate) expect: Expected,

    /// Messages of each maildrop, where `reprieve-load serve` is behind the server
    #[arg(long, value_name = "N", requires = "size", value_parser = clap::value_parser!(u32).range(..=i64::from(Mailbox::MOST)))]
    pub(crate) messages: Option<u32>,

    /// Octets of each of them
    #[arg(long, value_name = "OCTETS", requires = "messages", value_parser = clap::value_parser!(u32).range(i64::from(Mailbox::SMALLEST)..=i64::from(Mailbox::LARGEST)))]
    pub(crate) size: Option<u32>,

    /// How far sessions of the scenario `hold` go before they rest
    #[arg(long, value_enum, default_value_t = Rest::Login)]
    pub(crate) stage: Rest,

    /// How long they are held. When all are there a line says so; Ctrl-C ends it earlier
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) hold_for: Duration,

    /// Address to connect from, or a network whose addresses take turns, such as 127.0.1.0/24
    #[arg(long, value_name = "ADDR")]
    pub(crate) source: Option<Sources>,

    /// Speak TLS from the start, as on port 995. Each session makes a whole handshake
    #[arg(long)]
    pub(crate) tls: bool,

    /// Certificate authorities to trust instead of the machine's (PEM)
    #[arg(long, value_name = "FILE", requires = "tls", conflicts_with = "insecure")]
    pub(crate) ca: Option<PathBuf>,

    /// Take any certificate
    #[arg(long, requires = "tls")]
    pub(crate) insecure: bool,

    /// Print one line of JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

impl RunArgs {
    /// Sessions where nothing else bounds them.
    pub(crate) const SESSIONS: u64 = 10_000;
}

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// USER, PASS, STAT, QUIT
    Poll,
    /// CAPA, USER, PASS, STAT, LIST, UIDL, QUIT
    PollUidl,
    /// USER, PASS, STAT, LIST, RETR of all messages, QUIT
    Bulk,
    /// Connect, rest for --hold-for, QUIT: all connections at a time, once
    Hold,
}

impl Scenario {
    /// As it is given on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::PollUidl => "poll-uidl",
            Self::Bulk => "bulk",
            Self::Hold => "hold",
        }
    }

    /// What sessions do that come and go; nothing where they are held.
    pub(crate) fn visit(self) -> Option<Visit> {
        match self {
            Self::Poll => Some(Visit::Poll),
            Self::PollUidl => Some(Visit::PollUidl),
            Self::Bulk => Some(Visit::Bulk),
            Self::Hold => None,
        }
    }
}
