//! The arguments of `reprieve-load serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::mailbox::Mailbox;

/// Serve as a small, fast mail server with the same generated messages for every user.
///
/// It accepts any password and supports CAPA, USER, PASS, AUTH PLAIN, STAT, LIST, UIDL, RETR, TOP,
/// DELE, NOOP, RSET and QUIT. DELE is accepted, but nothing is ever deleted. It uses one thread.
///
/// Its own command XCOUNT counts connections, logins and retrieved messages so far, so that a test
/// can see what a proxy let through: `+OK connections=12 logins=10 retrieved=0`.
///
/// The first line of output is the listen address; with port 0 the kernel chooses the port. SIGTERM
/// and Ctrl-C end it.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ServeArgs {
    /// Listen address, as ADDRESS:PORT
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: SocketAddr,

    /// Messages per maildrop
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=i64::from(Mailbox::MAX_MESSAGES)))]
    pub(crate) messages: u32,

    /// Size of each message in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(i64::from(Mailbox::MIN_SIZE)..=i64::from(Mailbox::MAX_SIZE)))]
    pub(crate) size: u32,

    /// Certificate chain in PEM; enables TLS from the first byte, as on port 995
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}
