//! The scenario `bulk`: fetching all messages.

use super::expectation::{Expectation, Shown};
use super::listing::Listing;
use super::poll;
use crate::client::{Client, Fault, FaultKind};

/// STAT, LIST, and RETR of each message. In a known mailbox every byte is checked, otherwise the
/// size.
pub(super) async fn retrieve(client: &mut Client<'_>, expectation: &Expectation) -> Result<Shown, Fault> {
    let (shown, Some(stat)) = poll::stat(client, expectation).await? else {
        return Ok(Shown::Denied);
    };
    let mailbox = expectation.mailbox.as_deref();
    let sizes = poll::sizes(client, &mut Listing::new(stat, mailbox)).await?;
    for (number, size) in (1..).zip(sizes) {
        client.expect_ok("RETR", &format!("RETR {number}")).await?;
        if let Some(mailbox) = mailbox {
            let mut before = 0;
            for part in mailbox.message(number).parts() {
                client.expect_bytes(part, before).await?;
                before += part.len();
            }
        } else {
            let bytes = client.message().await?;
            if bytes != size {
                let detail = format!("message {number} has {bytes} bytes, but LIST says {size}");
                return Err(client.fault(FaultKind::Wrong, detail));
            }
        }
    }
    Ok(shown)
}
