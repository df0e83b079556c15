//! Fetching all mail.

use super::expectation::{Expectation, Shown};
use super::listing::Listing;
use super::poll;
use crate::client::{Client, Fault, Kind};

/// STAT, LIST, and RETR of each message. Of a mailbox that is known every octet is checked, of
/// others the size.
pub(super) async fn retrieve(client: &mut Client<'_>, expectation: &Expectation) -> Result<Shown, Fault> {
    let (shown, Some(stat)) = poll::stat(client, expectation).await? else {
        return Ok(Shown::Denied);
    };
    let mailbox = expectation.mailbox.as_deref();
    let sizes = poll::sizes(client, &mut Listing::new(stat, mailbox)).await?;
    for (number, size) in (1..).zip(sizes) {
        client.must("RETR", &format!("RETR {number}")).await?;
        if let Some(mailbox) = mailbox {
            let mut before = 0;
            for part in mailbox.message(number).parts() {
                client.exactly(part, before).await?;
                before += part.len();
            }
        } else {
            let octets = client.message().await?;
            if octets != size {
                let detail = format!("message {number} has {octets} octets, and by LIST {size}");
                return Err(client.fault(Kind::Wrong, detail));
            }
        }
    }
    Ok(shown)
}
