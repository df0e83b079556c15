//! The arguments of `reprieve-load serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::mailbox::Mailbox;

/// Be a small, fast mail server: the same generated messages for every user.
///
/// It lets everybody in, with any password, and knows CAPA, USER, PASS, AUTH PLAIN, STAT, LIST,
/// UIDL, RETR, TOP, DELE, NOOP, RSET and QUIT. Nothing is ever deleted: DELE is accepted and
/// forgotten. One thread serves.
///
/// XCOUNT, its own command, tells at any time how many connections and logins there were, so that
/// a test can see what a proxy let through: `+OK connections=12 logins=10 retrieved=0`.
///
/// The first line that it prints is the address that it listens on; with port 0 the kernel
/// chooses one. SIGTERM and Ctrl-C end it.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ServeArgs {
    /// Address to listen on, with its port
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: SocketAddr,

    /// Messages of each maildrop
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=i64::from(Mailbox::MOST)))]
    pub(crate) messages: u32,

    /// Octets of each message
    #[arg(long, value_name = "OCTETS", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(i64::from(Mailbox::SMALLEST)..=i64::from(Mailbox::LARGEST)))]
    pub(crate) size: u32,

    /// Certificate chain (PEM): TLS from the start, as on port 995
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}
