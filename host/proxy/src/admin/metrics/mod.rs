//! `GET /metrics`, for Prometheus. All values are read at the time of the scrape. A test compares
//! the metrics with docs/metrics.md.

mod exposition;
mod logs;
mod new_mail;
mod pools;
mod process;
mod stores;
mod virtual_servers;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::IntoResponse;

use crate::server::View;
use exposition::{Exposition, Format};

/// `GET /metrics`
pub(super) async fn get(State(view): State<View>, headers: HeaderMap) -> impl IntoResponse {
    let accept: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::negotiate(&accept.join(","));
    ([(CONTENT_TYPE, format.content_type())], text(&view, format))
}

fn text(view: &View, format: Format) -> String {
    let mut out = Exposition::new(format);
    out.info("reprieve_build", "Version of the running Reprieve.")
        .add(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    out.gauge("reprieve_connections_open", "Open client connections.").add(&[], view.connections().into());
    out.gauge("reprieve_connections_limit", "Limit of open client connections (max-connections).")
        .add(&[], view.connections_limit().into());
    let servers: Vec<_> = view.virtual_servers().collect();
    virtual_servers::write(&servers, &mut out);
    virtual_servers::write_policies(&servers, &mut out);
    virtual_servers::write_shadows(&servers, &mut out);
    virtual_servers::write_lookups(&servers, &mut out);
    stores::write(view.stores(), &mut out);
    let mut pools: Vec<_> = view.pools().collect();
    pools.sort_unstable_by_key(|pool| pool.name().to_owned());
    pools::write(&pools, &mut out);
    new_mail::write(&pools, &mut out);
    logs::write(view, &mut out);
    process::write(&mut out);
    out.finish()
}
