//! The commands of a session, per scenario.

mod bulk;
pub(crate) mod expectation;
mod listing;
mod poll;

use std::time::Instant;

pub(crate) use expectation::{Expectation, Expected, Shown};

use crate::client::{Client, Connector, Fault, Progress, Reply};
use crate::users::Account;

/// The commands between login and QUIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// STAT only.
    Poll,
    /// CAPA (before the login), STAT, LIST and UIDL.
    PollUidl,
    /// RETR of every message.
    Bulk,
}

impl Script {
    /// Size of the read buffer: large for `bulk`, so that reading costs this program little.
    fn buffer_bytes(self) -> usize {
        match self {
            Self::Poll => 2 << 10,
            Self::PollUidl => 16 << 10,
            Self::Bulk => 128 << 10,
        }
    }
}

/// Runs one session, from connecting until the server closes.
pub(crate) async fn run_session(
    script: Script,
    connector: &Connector,
    session: u64,
    account: &Account,
    expectation: &Expectation,
    progress: &Progress,
) -> Result<Shown, Fault> {
    let mut client = Client::connect(connector, session, script.buffer_bytes(), progress).await?;
    client.greeting().await?;
    if script == Script::PollUidl {
        poll::capabilities(&mut client).await?;
    }
    if !log_in(&mut client, account, expectation, progress).await? {
        client.quit().await?;
        return Ok(Shown::Denied);
    }
    let shown = match script {
        Script::Poll => poll::stat(&mut client, expectation).await?.0,
        Script::PollUidl => poll::listing(&mut client, expectation).await?,
        Script::Bulk => bulk::retrieve(&mut client, expectation).await?,
    };
    client.quit().await?;
    Ok(shown)
}

/// When a session of the scenario `hold` is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum HoldStage {
    /// After the greeting
    Banner,
    /// After the login and a STAT
    Login,
}

/// Opens a session of the scenario `hold`.
pub(crate) async fn open<'a>(
    until: HoldStage,
    connector: &Connector,
    session: u64,
    account: &Account,
    expectation: &Expectation,
    progress: &'a Progress,
) -> Result<(Client<'a>, Shown), Fault> {
    let mut client = Client::connect(connector, session, Script::Poll.buffer_bytes(), progress).await?;
    client.greeting().await?;
    let shown = match until {
        HoldStage::Banner => Shown::Real,
        HoldStage::Login if log_in(&mut client, account, expectation, progress).await? => {
            poll::stat(&mut client, expectation).await?.0
        }
        HoldStage::Login => Shown::Denied,
    };
    Ok((client, shown))
}

/// USER and PASS. Returns false if the login was denied as expected.
async fn log_in(
    client: &mut Client<'_>,
    account: &Account,
    expectation: &Expectation,
    progress: &Progress,
) -> Result<bool, Fault> {
    let started = Instant::now();
    for (verb, argument) in [("USER", &account.user), ("PASS", &account.password)] {
        match client.command(verb, &format!("{verb} {argument}")).await? {
            Reply::Err(text) if expectation.is_denial(&text) => {
                progress.login.set(Some(started.elapsed()));
                return Ok(false);
            }
            reply => client.require_ok(reply)?,
        };
    }
    progress.login.set(Some(started.elapsed()));
    Ok(true)
}
