//! The interfaces `store`, `lookup` and `log`.

use std::time::Duration;

use reprieve_store::{Lifetime, Ttl};
use wasmtime::Result;
use wasmtime::component::Linker;

use super::bindings::reprieve::policy::{log, lookup, store};
use super::transaction::{Invalid, digits, is_allowed, number};
use crate::contract::ready;
use crate::instance::State;
use crate::metrics::Overrun;

/// A table that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("it looks into the table {0:?}, which `lookups` does not name")]
struct NoSuchTable(String);

impl State {
    /// Passes the value of a key as this call sees it.
    async fn with_value<T>(&mut self, key: &str, with: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        if !is_allowed(key) {
            return Ok(with(None));
        }
        if let Some(seen) = self.call.transaction.seen(key) {
            return Ok(with(seen));
        }
        let value = self.meter.ask(self.namespace.get(key)).await?;
        let result = with(value.as_deref());
        self.call.transaction.fetched(key, value);
        Ok(result)
    }

    fn invalid(&self, written: Result<(), Invalid>) -> Result<(), store::Refused> {
        written.map_err(|Invalid| {
            self.log.overran(Overrun::StoreLength);
            store::Refused::Invalid
        })
    }
}

impl store::Host for State {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>> {
        self.with_value(&key, |value| value.map(<[u8]>::to_vec)).await
    }

    async fn get_many(&mut self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>> {
        let transaction = &self.call.transaction;
        let missing: Vec<&str> = keys
            .iter()
            .map(String::as_str)
            .filter(|key| is_allowed(key) && transaction.seen(key).is_none())
            .collect();
        if !missing.is_empty() {
            let values = self.meter.ask(self.namespace.get_many(&missing)).await?;
            for (key, value) in missing.into_iter().zip(values) {
                self.call.transaction.fetched(key, value);
            }
        }
        let transaction = &self.call.transaction;
        Ok(keys.iter().map(|key| transaction.seen(key).flatten().map(<[u8]>::to_vec)).collect())
    }

    async fn get_number(&mut self, key: String) -> Result<Option<i32>> {
        self.with_value(&key, |value| value.and_then(number)).await
    }

    async fn time_to_live(&mut self, key: String) -> Result<Option<u32>> {
        if !is_allowed(&key) {
            return Ok(None);
        }
        let left = match self.call.transaction.time_to_live(&key) {
            Some(ttl) => ttl,
            None => match self.meter.ask(self.namespace.ttl(&key)).await? {
                Some(Ttl::Left(left)) => Some(left),
                Some(Ttl::Forever) | None => None,
            },
        };
        Ok(left.map(|left| u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)))
    }

    fn set(&mut self, key: String, value: Vec<u8>, ttl: Option<u32>) -> Result<Result<(), store::Refused>> {
        let written = self.call.transaction.set(key, value, lifetime(ttl));
        Ok(self.invalid(written))
    }

    fn set_number(
        &mut self,
        key: String,
        value: i32,
        ttl: Option<u32>,
    ) -> Result<Result<(), store::Refused>> {
        let written = self.call.transaction.set(key, digits(value), lifetime(ttl));
        Ok(self.invalid(written))
    }

    async fn increment(
        &mut self,
        key: String,
        by: i32,
        ttl: Option<u32>,
    ) -> Result<Result<i32, store::Refused>> {
        let present = self.with_value(&key, |value| value.map(number)).await?;
        let (before, is_new) = match present {
            None => (0, true),
            Some(Some(before)) => (before, false),
            Some(None) => return Ok(Err(store::Refused::NotANumber)),
        };
        let after = before.saturating_add(by);
        let transaction = &mut self.call.transaction;
        let written = match is_new {
            true => transaction.set(key, digits(after), lifetime(ttl)),
            false => transaction.set_counter(key, digits(after)),
        };
        Ok(self.invalid(written).map(|()| after))
    }

    async fn delete(&mut self, key: String) -> Result<bool> {
        let existed = self.with_value(&key, |value| value.is_some()).await?;
        if existed {
            self.call.transaction.delete(key);
        }
        Ok(existed)
    }

    async fn usage(&mut self) -> Result<u32> {
        let committed = match self.call.transaction.is_cleared() {
            true => 0,
            false => self.meter.ask(self.namespace.usage()).await?,
        };
        let bytes = committed.saturating_add(self.call.transaction.pending_bytes());
        Ok(u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    fn quota(&mut self) -> Result<u32> {
        Ok(u32::try_from(self.namespace.quota()).unwrap_or(u32::MAX))
    }

    fn clear(&mut self) -> Result<()> {
        self.call.transaction.delete_all();
        Ok(())
    }
}

impl lookup::Host for State {
    fn get(&mut self, table: String, key: String) -> Result<Option<String>> {
        match self.lookups.get(&table, &key) {
            Some(found) => Ok(found.map(Into::into)),
            None => Err(wasmtime::Error::new(NoSuchTable(table))),
        }
    }

    fn contains(&mut self, table: String, key: String) -> Result<bool> {
        self.lookups.contains(&table, &key).ok_or_else(|| wasmtime::Error::new(NoSuchTable(table)))
    }

    fn tables(&mut self) -> Result<Vec<String>> {
        Ok(self.lookups.names())
    }
}

impl log::Host for State {
    fn line(&mut self, level: log::Level, text: String) -> Result<()> {
        self.log_line(
            match level {
                log::Level::Debug => tracing::Level::DEBUG,
                log::Level::Info => tracing::Level::INFO,
                log::Level::Warn => tracing::Level::WARN,
                log::Level::Error => tracing::Level::ERROR,
            },
            &text,
        );
        Ok(())
    }
}

fn lifetime(ttl: Option<u32>) -> Lifetime {
    ttl.map_or(Lifetime::Forever, |seconds| Lifetime::For(Duration::from_secs(u64::from(seconds))))
}

/// Replaces the asynchronous functions by synchronous ones, for a store that never waits.
pub(super) fn link_sync(linker: &mut Linker<State>) -> Result<()> {
    use store::Host;
    type Caller<'a> = wasmtime::StoreContextMut<'a, State>;
    linker.allow_shadowing(true);
    let mut store = linker.instance("reprieve:policy/store@0.2.0")?;
    store.func_wrap("get", |mut caller: Caller<'_>, (key,)| ready(Host::get(caller.data_mut(), key)))?;
    store.func_wrap("get-many", |mut caller: Caller<'_>, (keys,)| ready(caller.data_mut().get_many(keys)))?;
    store
        .func_wrap("get-number", |mut caller: Caller<'_>, (key,)| ready(caller.data_mut().get_number(key)))?;
    store.func_wrap("time-to-live", |mut caller: Caller<'_>, (key,)| {
        ready(caller.data_mut().time_to_live(key))
    })?;
    store.func_wrap("increment", |mut caller: Caller<'_>, (key, by, ttl)| {
        ready(Host::increment(caller.data_mut(), key, by, ttl))
    })?;
    store
        .func_wrap("delete", |mut caller: Caller<'_>, (key,)| ready(Host::delete(caller.data_mut(), key)))?;
    store.func_wrap("usage", |mut caller: Caller<'_>, ()| ready(Host::usage(caller.data_mut())))?;
    linker.allow_shadowing(false);
    Ok(())
}
