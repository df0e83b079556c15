//! The WIT's store functions for a store in memory. They never wait, so they are linked as plain
//! functions instead of asynchronous ones.

use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut};

use super::bindings::reprieve::policy::store::Host;
use crate::contract::ready;
use crate::instance::State;

type Caller<'a> = StoreContextMut<'a, State>;

/// Replaces the asynchronous functions by these. wasmtime checks their types against the WIT when a
/// component is linked.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.allow_shadowing(true);
    let mut store = linker.instance("reprieve:policy/store@0.1.0")?;
    store.func_wrap("get", |mut caller: Caller<'_>, (key,)| ready(caller.data_mut().get(key)))?;
    store.func_wrap("set", |mut caller: Caller<'_>, (key, value, ttl)| {
        ready(caller.data_mut().set(key, value, ttl))
    })?;
    store.func_wrap("add", |mut caller: Caller<'_>, (key, value, ttl)| {
        ready(caller.data_mut().add(key, value, ttl))
    })?;
    store.func_wrap("compare-and-set", |mut caller: Caller<'_>, (key, expected, value, ttl)| {
        ready(caller.data_mut().compare_and_set(key, expected, value, ttl))
    })?;
    store.func_wrap("increment", |mut caller: Caller<'_>, (key, by, ttl)| {
        ready(caller.data_mut().increment(key, by, ttl))
    })?;
    store.func_wrap("delete", |mut caller: Caller<'_>, (key,)| ready(caller.data_mut().delete(key)))?;
    store.func_wrap("usage", |mut caller: Caller<'_>, ()| ready(caller.data_mut().usage()))?;
    store
        .func_wrap("clear", |mut caller: Caller<'_>, ()| ready(caller.data_mut().clear()).map(|((),)| ()))?;
    linker.allow_shadowing(false);
    Ok(())
}
