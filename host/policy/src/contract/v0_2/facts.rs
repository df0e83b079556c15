//! The interfaces with facts about the login or outcome of the call: `claim`, `client`, `session`,
//! `maildrop`, `pools` and `outcome-details`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use wasmtime::Result;

use super::Call;
use super::bindings::reprieve::policy::{claim, client, maildrop, outcome_details, pools, session, types};
use crate::instance::State;
use crate::login::address_text;
use crate::{Backend, Login, Mechanism, Outcome, Worded as _};

/// A function was called at a time when it has no meaning.
#[derive(Debug, thiserror::Error)]
#[error("it calls {function} outside {when}")]
struct NoCall {
    function: &'static str,
    when: &'static str,
}

/// An argument of a fact is wrong.
#[derive(Debug, thiserror::Error)]
#[error("it asks about {what} {name:?}, which does not exist")]
struct NoSuch {
    what: &'static str,
    name: String,
}

impl Call {
    pub(super) fn login(&self, function: &'static str) -> Result<&Arc<Login>> {
        self.login
            .as_ref()
            .ok_or_else(|| wasmtime::Error::new(NoCall { function, when: "decide and observe" }))
    }

    fn outcome(&self) -> Result<&Outcome> {
        let missing = || wasmtime::Error::new(NoCall { function: "outcome-details", when: "observe" });
        self.outcome.as_deref().ok_or_else(missing)
    }
}

impl types::Host for State {}

impl claim::Host for State {
    fn user(&mut self) -> Result<String> {
        Ok(self.call.login("claim")?.claim.user.clone())
    }

    fn user_key(&mut self) -> Result<String> {
        Ok(self.call.login("claim")?.claim.key.user().to_owned())
    }

    fn authorization_id(&mut self) -> Result<Option<String>> {
        Ok(self.call.login("claim")?.claim.authorization_id.clone())
    }

    fn mechanism_name(&mut self) -> Result<String> {
        Ok(match self.call.login("claim")?.claim.mechanism {
            Mechanism::UserPass => "USER".to_owned(),
            mechanism => mechanism.word().to_ascii_uppercase(),
        })
    }
}

impl client::Host for State {
    fn peer(&mut self) -> Result<String> {
        Ok(address_text(self.call.login("client")?.client.peer))
    }

    fn peer_port(&mut self) -> Result<u16> {
        Ok(self.call.login("client")?.client.peer.port())
    }

    fn peer_network(&mut self, ipv4_prefix: u8, ipv6_prefix: u8) -> Result<String> {
        let peer = self.call.login("client")?.client.peer.ip().to_canonical();
        Ok(network(peer, ipv4_prefix, ipv6_prefix))
    }

    fn local(&mut self) -> Result<String> {
        Ok(address_text(self.call.login("client")?.client.local))
    }

    fn local_port(&mut self) -> Result<u16> {
        Ok(self.call.login("client")?.client.local.port())
    }

    fn tls_version(&mut self) -> Result<Option<String>> {
        Ok(self.call.login("client")?.client.tls.as_ref().map(|tls| tls.version.clone()))
    }

    fn server_name(&mut self) -> Result<Option<String>> {
        let tls = self.call.login("client")?.client.tls.as_ref();
        Ok(tls.and_then(|tls| tls.server_name.clone()))
    }

    fn certificate_subject(&mut self) -> Result<Option<String>> {
        let tls = self.call.login("client")?.client.tls.as_ref();
        Ok(tls.and_then(|tls| tls.client_subject.clone()))
    }
}

impl session::Host for State {
    fn virtual_server(&mut self) -> Result<String> {
        Ok(self.call.login("session")?.session.virtual_server.to_string())
    }

    fn id(&mut self) -> Result<String> {
        Ok(self.call.login("session")?.session.id.to_string())
    }

    fn earlier_logins(&mut self) -> Result<u32> {
        Ok(self.call.login("session")?.session.earlier_logins)
    }
}

impl maildrop::Host for State {
    fn messages(&mut self) -> Result<Option<u32>> {
        Ok(self.call.login("maildrop")?.maildrop.snapshot.map(|snapshot| snapshot.messages))
    }

    fn total_bytes(&mut self) -> Result<Option<u32>> {
        Ok(self.call.login("maildrop")?.maildrop.snapshot.map(|snapshot| snapshot.total_bytes))
    }

    fn seconds_since_seen(&mut self) -> Result<Option<u32>> {
        let snapshot = self.call.login("maildrop")?.maildrop.snapshot;
        Ok(snapshot.and_then(|snapshot| snapshot.seconds_since_seen))
    }

    fn seconds_unchanged(&mut self) -> Result<Option<u32>> {
        let snapshot = self.call.login("maildrop")?.maildrop.snapshot;
        Ok(snapshot.and_then(|snapshot| snapshot.seconds_unchanged))
    }

    fn seconds_since_upgrade(&mut self) -> Result<Option<u32>> {
        Ok(self.call.login("maildrop")?.maildrop.seconds_since_upgrade)
    }

    fn open_sessions(&mut self) -> Result<u32> {
        Ok(self.call.login("maildrop")?.maildrop.open_sessions)
    }
}

impl State {
    fn pool(&self, name: String) -> Result<Backend> {
        let login = self.call.login("pools")?;
        if *name == *login.backend.pool {
            return Ok(login.backend.clone());
        }
        let state = login.pools.state(&name);
        state.ok_or_else(|| wasmtime::Error::new(NoSuch { what: "the pool", name }))
    }
}

impl pools::Host for State {
    fn default_pool(&mut self) -> Result<String> {
        Ok(self.call.login("pools")?.backend.pool.to_string())
    }

    fn names(&mut self) -> Result<Vec<String>> {
        Ok(self.call.login("pools")?.pools.names())
    }

    fn nodes(&mut self, pool: String) -> Result<u32> {
        Ok(self.pool(pool)?.nodes)
    }

    fn healthy_nodes(&mut self, pool: String) -> Result<u32> {
        Ok(self.pool(pool)?.healthy_nodes)
    }

    fn sessions(&mut self, pool: String) -> Result<u32> {
        Ok(self.pool(pool)?.sessions)
    }

    fn waiting(&mut self, pool: String) -> Result<u32> {
        Ok(self.pool(pool)?.waiting)
    }

    fn login_latency_ms(&mut self, pool: String) -> Result<Option<u32>> {
        Ok(self.pool(pool)?.login_latency_ms)
    }
}

impl outcome_details::Host for State {
    fn cause(&mut self) -> Result<String> {
        Ok(self.call.outcome()?.cause.name().to_owned())
    }

    fn node(&mut self) -> Result<Option<String>> {
        Ok(self.call.outcome()?.node.as_deref().map(str::to_owned))
    }

    fn response_code(&mut self) -> Result<Option<String>> {
        Ok(self.call.outcome()?.response_code.as_deref().map(str::to_owned))
    }

    fn note(&mut self) -> Result<Option<String>> {
        Ok(self.call.outcome()?.note.clone())
    }
}

/// The network of an address, in CIDR notation.
fn network(address: IpAddr, ipv4_prefix: u8, ipv6_prefix: u8) -> String {
    match address {
        IpAddr::V4(address) => {
            let prefix = ipv4_prefix.min(32);
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            format!("{}/{prefix}", Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let prefix = ipv6_prefix.min(128);
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            format!("{}/{prefix}", Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_in_cidr_notation() {
        for (address, ipv4_prefix, ipv6_prefix, expected) in [
            ("192.0.2.77", 24, 64, "192.0.2.0/24"),
            ("192.0.2.77", 0, 64, "0.0.0.0/0"),
            ("192.0.2.77", 200, 64, "192.0.2.77/32"),
            ("2001:db8:1:2:3::4", 24, 64, "2001:db8:1:2::/64"),
            ("2001:db8::4", 24, 0, "::/0"),
            ("2001:db8::4", 24, 255, "2001:db8::4/128"),
        ] {
            assert_eq!(network(address.parse().unwrap(), ipv4_prefix, ipv6_prefix), expected);
        }
    }
}
