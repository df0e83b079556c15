//! Those asynchronous functions of WASI that language runtimes import for their output, as synchronous ones.
//! Output becomes log lines, so that they have never to wait. The bindings of wasmtime make them
//! asynchronous, and then all calls of a policy that imports them would need a stack of their own.

use wasmtime::component::types::{Component, ComponentItem};
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime::{Engine, Result, StoreContextMut};
use wasmtime_wasi::ResourceTable;
use wasmtime_wasi_io::bindings::wasi::io::poll::HostPollable;
use wasmtime_wasi_io::bindings::wasi::io::streams::{
    Host as _, HostInputStream, HostOutputStream, StreamError,
};
use wasmtime_wasi_io::poll::DynPollable;
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream, StreamResult};

use crate::contract::ready;
use crate::instance::State;

/// The interfaces as wasmtime's linker names them.
const POLL: &str = "wasi:io/poll@0.2.12";
const STREAMS: &str = "wasi:io/streams@0.2.12";

/// Functions of interfaces that can wait, but do not wait for output.
const AT_ONCE: [(&str, &[&str]); 4] = [
    ("wasi:io/poll", &["[method]pollable.block"]),
    (
        "wasi:io/streams",
        &[
            "[method]output-stream.check-write",
            "[method]output-stream.write",
            "[method]output-stream.flush",
            "[method]output-stream.subscribe",
            "[method]output-stream.blocking-flush",
            "[method]output-stream.blocking-write-and-flush",
        ],
    ),
    ("wasi:clocks/monotonic-clock", &["now", "resolution"]),
    ("wasi:clocks/wall-clock", &["now", "resolution"]),
];

/// Whether all of WASI that a component imports is answered at once if [`link`] has linked it.
pub(crate) fn suffices(component: &Component, engine: &Engine) -> bool {
    component.imports(engine).all(|(name, import)| {
        let interface = name.split_once('@').map_or(name, |(interface, _)| interface);
        if !interface.starts_with("wasi:") {
            return true;
        }
        if let Some((_, functions)) = AT_ONCE.iter().find(|(known, _)| *known == interface) {
            let ComponentItem::ComponentInstance(instance) = import.ty else { return false };
            return instance.exports(engine).all(|(name, export)| {
                !matches!(export.ty, ComponentItem::ComponentFunc(_)) || functions.contains(&name)
            });
        }
        // All functions of these are synchronous.
        ["wasi:cli/", "wasi:io/error", "wasi:random/"].iter().any(|prefix| interface.starts_with(prefix))
    })
}

/// Replaces the asynchronous functions by synchronous ones.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    type Caller<'a> = StoreContextMut<'a, State>;
    linker.allow_shadowing(true);
    let mut poll = linker.instance(POLL)?;
    poll.func_wrap(
        "[method]pollable.block",
        |mut caller: Caller<'_>, (pollable,): (Resource<DynPollable>,)| {
            ready(HostPollable::block(caller.data_mut().resources(), pollable)).map(drop)
        },
    )?;
    let mut streams = linker.instance(STREAMS)?;
    let input = ResourceType::host::<DynInputStream>();
    streams.resource("input-stream", input, |mut caller, rep| {
        let stream = Resource::new_own(rep);
        ready(HostInputStream::drop(caller.data_mut().resources(), stream)).map(drop)
    })?;
    let output = ResourceType::host::<DynOutputStream>();
    streams.resource("output-stream", output, |mut caller, rep| {
        let stream = Resource::new_own(rep);
        ready(HostOutputStream::drop(caller.data_mut().resources(), stream)).map(drop)
    })?;
    streams.func_wrap(
        "[method]output-stream.blocking-flush",
        |mut caller: Caller<'_>, (stream,): (Resource<DynOutputStream>,)| {
            let table = caller.data_mut().resources();
            let (flushed,) = ready(async { Ok(HostOutputStream::blocking_flush(table, stream).await) })?;
            converted(table, flushed)
        },
    )?;
    streams.func_wrap(
        "[method]output-stream.blocking-write-and-flush",
        |mut caller: Caller<'_>, (stream, bytes): (Resource<DynOutputStream>, Vec<u8>)| {
            let table = caller.data_mut().resources();
            let written = HostOutputStream::blocking_write_and_flush(table, stream, bytes);
            let (written,) = ready(async { Ok(written.await) })?;
            converted(table, written)
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn converted(table: &mut ResourceTable, result: StreamResult<()>) -> Result<(Result<(), StreamError>,)> {
    Ok((match result {
        Ok(()) => Ok(()),
        Err(error) => Err(table.convert_stream_error(error)?),
    },))
}
