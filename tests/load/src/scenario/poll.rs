//! Looking whether there is new mail, as mail programs do.

use super::expectation::{Expectation, Shown};
use super::listing::{Listing, Stat};
use crate::client::{Client, Fault, Kind};

/// CAPA.
pub(super) async fn capabilities(client: &mut Client<'_>) -> Result<(), Fault> {
    client.must("CAPA", "CAPA").await?;
    client.rows(|row| if row.is_empty() { Err("an empty capability".to_string()) } else { Ok(()) }).await
}

/// STAT.
pub(super) async fn stat(
    client: &mut Client<'_>,
    expectation: &Expectation,
) -> Result<(Shown, Option<Stat>), Fault> {
    let reply = client.ask("STAT", "STAT").await?;
    expectation.judge(&reply).map_err(|(kind, detail)| client.fault(kind, detail))
}

/// STAT, LIST and UIDL, which must agree.
pub(super) async fn listing(client: &mut Client<'_>, expectation: &Expectation) -> Result<Shown, Fault> {
    let (shown, Some(stat)) = stat(client, expectation).await? else {
        return Ok(Shown::Denied);
    };
    let mut listing = Listing::new(stat, expectation.mailbox.as_deref());
    sizes(client, &mut listing).await?;
    client.must("UIDL", "UIDL").await?;
    client.rows(|row| listing.id_row(row)).await?;
    listing.ids_are_complete().map_err(|detail| client.fault(Kind::Wrong, detail))?;
    Ok(shown)
}

/// LIST, which must agree with STAT; tells the sizes.
pub(super) async fn sizes(client: &mut Client<'_>, listing: &mut Listing<'_>) -> Result<Vec<u64>, Fault> {
    client.must("LIST", "LIST").await?;
    client.rows(|row| listing.size_row(row)).await?;
    listing.sizes().map(<[u64]>::to_vec).map_err(|detail| client.fault(Kind::Wrong, detail))
}
