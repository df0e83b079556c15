//! The commands by which mail programs check for new mail.

use super::expectation::{Expectation, Shown};
use super::listing::{Listing, Stat};
use crate::client::{Client, Fault, FaultKind};

pub(super) async fn capabilities(client: &mut Client<'_>) -> Result<(), Fault> {
    client.expect_ok("CAPA", "CAPA").await?;
    client
        .each_line(|line| if line.is_empty() { Err("an empty capability".to_string()) } else { Ok(()) })
        .await
}

pub(super) async fn stat(
    client: &mut Client<'_>,
    expectation: &Expectation,
) -> Result<(Shown, Option<Stat>), Fault> {
    let reply = client.command("STAT", "STAT").await?;
    expectation.check_stat(&reply).map_err(|(kind, detail)| client.fault(kind, detail))
}

/// STAT, LIST and UIDL, which must agree.
pub(super) async fn listing(client: &mut Client<'_>, expectation: &Expectation) -> Result<Shown, Fault> {
    let (shown, Some(stat)) = stat(client, expectation).await? else {
        return Ok(Shown::Denied);
    };
    let mut listing = Listing::new(stat, expectation.mailbox.as_deref());
    sizes(client, &mut listing).await?;
    client.expect_ok("UIDL", "UIDL").await?;
    client.each_line(|line| listing.id_line(line)).await?;
    listing.ids_are_complete().map_err(|detail| client.fault(FaultKind::Wrong, detail))?;
    Ok(shown)
}

/// LIST, which must agree with STAT. Returns the sizes.
pub(super) async fn sizes(client: &mut Client<'_>, listing: &mut Listing<'_>) -> Result<Vec<u64>, Fault> {
    client.expect_ok("LIST", "LIST").await?;
    client.each_line(|line| listing.size_line(line)).await?;
    listing.sizes().map(<[u64]>::to_vec).map_err(|detail| client.fault(FaultKind::Wrong, detail))
}
