//! What a session does: one file for each scenario but the shortest.

mod bulk;
pub(crate) mod expectation;
mod listing;
mod poll;

use std::time::Instant;

pub(crate) use expectation::{Expectation, Expected, Shown};

use crate::client::{Client, Dial, Fault, Reply, Trace};
use crate::users::Account;

/// What sessions do that come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// STAT only.
    Poll,
    /// CAPA, STAT, LIST and UIDL.
    PollUidl,
    /// RETR of everything.
    Bulk,
}

impl Visit {
    /// Room for what comes: bulk is read in large pieces, so that reading costs this program little.
    fn room(self) -> usize {
        match self {
            Self::Poll => 2 << 10,
            Self::PollUidl => 16 << 10,
            Self::Bulk => 128 << 10,
        }
    }
}

/// One session, from the connection to the server's closing it.
pub(crate) async fn visit(
    what: Visit,
    dial: &Dial,
    session: u64,
    account: &Account,
    expectation: &Expectation,
    trace: &Trace,
) -> Result<Shown, Fault> {
    let mut client = Client::connect(dial, session, what.room(), trace).await?;
    client.greeting().await?;
    if what == Visit::PollUidl {
        poll::capabilities(&mut client).await?;
    }
    if !log_in(&mut client, account, expectation, trace).await? {
        client.quit().await?;
        return Ok(Shown::Denied);
    }
    let shown = match what {
        Visit::Poll => poll::stat(&mut client, expectation).await?.0,
        Visit::PollUidl => poll::listing(&mut client, expectation).await?,
        Visit::Bulk => bulk::retrieve(&mut client, expectation).await?,
    };
    client.quit().await?;
    Ok(shown)
}

/// How far a held session goes before it rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Rest {
    /// After the greeting
    Banner,
    /// After the login and a STAT
    Login,
}

/// Opens a session that is to be held.
pub(crate) async fn open<'a>(
    until: Rest,
    dial: &Dial,
    session: u64,
    account: &Account,
    expectation: &Expectation,
    trace: &'a Trace,
) -> Result<(Client<'a>, Shown), Fault> {
    let mut client = Client::connect(dial, session, Visit::Poll.room(), trace).await?;
    client.greeting().await?;
    let shown = match until {
        Rest::Banner => Shown::Real,
        Rest::Login if log_in(&mut client, account, expectation, trace).await? => {
            poll::stat(&mut client, expectation).await?.0
        }
        Rest::Login => Shown::Denied,
    };
    Ok((client, shown))
}

/// USER and PASS. False is a login that was denied as expected.
async fn log_in(
    client: &mut Client<'_>,
    account: &Account,
    expectation: &Expectation,
    trace: &Trace,
) -> Result<bool, Fault> {
    let begun = Instant::now();
    for (verb, argument) in [("USER", &account.user), ("PASS", &account.password)] {
        match client.ask(verb, &format!("{verb} {argument}")).await? {
            Reply::Err(text) if expectation.is_denial(&text) => {
                trace.login.set(Some(begun.elapsed()));
                return Ok(false);
            }
            reply => client.accepted(reply)?,
        };
    }
    trace.login.set(Some(begun.elapsed()));
    Ok(true)
}
