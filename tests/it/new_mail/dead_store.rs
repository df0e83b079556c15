//! Signals while the store that proxies share cannot be reached.

use super::SIGNALS;
use super::history::{Proxies, SiteSettings};
use crate::support::http::ask_at;
use crate::support::redis::{Make, Redis};
use crate::support::{mail_server, until};

#[test]
fn a_signal_that_cannot_be_written_is_refused_and_counted() {
    let mail = mail_server(1);
    let store = Some(Redis::start(Make::Valkey));
    let proxies =
        Proxies::start(SiteSettings { proxies: 2, store, ..SiteSettings::in_front_of(mail.address()) });
    let status = |proxy| {
        let authorization = format!("Authorization: Bearer {SIGNALS}");
        ask_at(proxies.admin(proxy), "POST /new-mail/mail", &[&authorization], "alice").unwrap().status
    };
    let gaps = |proxy| proxies.metric(proxy, "reprieve_new_mail_gaps", "reason=\"unavailable\"").unwrap();
    for proxy in 0..2 {
        until("the store is connected", || status(proxy) == 200);
    }
    proxies.kill_store();
    for proxy in 0..2 {
        let before = gaps(proxy);
        assert_eq!(status(proxy), 503, "no other proxy would see the signal");
        assert!(gaps(proxy) > before);
    }
    proxies.resume_store();
    for proxy in 0..2 {
        until("the store is back", || status(proxy) == 200);
    }
}
