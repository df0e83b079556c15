//! A deterministic simulation of whole sites: one or two proxies with their real sessions, registries,
//! pools and signals, between mail servers, clients and a store that are models. All of it runs on one
//! thread in virtual time, and a seed decides what happens: connections that are slow or break, mail
//! servers that fail, a store that loses writes, take-overs, reloads, clocks that are set.
//!
//! The [oracle](oracle) checks what each client is shown; [calm](calm) checks in the end that users are
//! relieved, that the counters add up, and that nothing is left behind. [faults](faults) are mistakes that
//! can be planted into the product to see that they are found.
//!
//! `tests/simulation/run` runs many seeds and repeats one; its README has the table of faults.
//!
//! Not simulated: TLS, the PROXY protocol, splicing, WebAssembly, files, DNS, and the real store's
//! connections.

mod accidents;
mod calm;
mod client;
mod faults;
mod lines;
mod mail;
mod mail_server;
mod network;
mod oracle;
mod plan;
mod policy;
mod random;
mod site;
mod store;
mod tests;
pub(crate) mod time;
mod trace;
mod visit;
mod world;

use std::time::Duration;

pub(crate) use faults::{Fault, planted};
pub(crate) use network::{Endpoint, connect};
pub(crate) use oracle::{EndedSession, session_ended};
pub(crate) use policy::Evaluator;
pub(crate) use store::Namespace;

use client::Client;
use faults::Planted;
use plan::Plan;
use random::Random;
use site::Site;
use world::{Entered, World};

/// Longest virtual time of a simulation.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Time in which everything ends that the accidents have left behind.
const SETTLING: Duration = Duration::from_secs(1500);

/// What has happened in a simulation.
#[derive(Debug)]
struct Report {
    /// Of the trace.
    fingerprint: (u64, u64),
    violations: Vec<String>,
    plan: Plan,
    trace: String,
}

/// Simulates what a seed decides.
fn simulate(seed: u64, fault: Option<Fault>, keeps_trace: bool) -> Report {
    let _planted = Planted::new(fault);
    let _virtual = time::Virtual::begin();
    let runtime = tokio::runtime::Builder::new_current_thread().on_thread_park(time::pass).build();
    let runtime = runtime.expect("a runtime");
    let mut random = Random::new(seed);
    let plan = Plan::of(&mut random);
    let world = runtime.block_on(async { World::new(plan.clone(), random, keeps_trace) });
    let _entered = Entered::new(&world);
    runtime.block_on(async {
        if time::timeout(LONGEST, live(&world)).await.is_err() {
            world.violated("the simulation does not end");
        }
    });
    drop(runtime);
    let oracle = world.oracle.lock();
    let trace = world.trace.lock();
    Report {
        fingerprint: trace.fingerprint(),
        violations: oracle.violations.clone(),
        plan,
        trace: trace.text().to_owned(),
    }
}

async fn live(world: &std::sync::Arc<World>) {
    let site = Site::new(world);
    accidents::start(&site);
    let mut clients = Vec::new();
    for user in 0..world.plan.users {
        for _ in 0..world.plan.clients_per_user {
            clients.push(tokio::spawn(Client::new(&site, user).run()));
        }
    }
    time::sleep(Duration::from_secs(world.plan.active_s)).await;
    world.calm_down();
    for process in site.all.lock().iter() {
        if let Some(store) = process.store() {
            store.set_partitioned(false);
        }
    }
    for client in clients {
        if let Err(error) = client.await {
            world.violated(&format!("a client has failed: {error}"));
        }
    }
    time::sleep(SETTLING).await;
    calm::check(&site).await;
    time::sleep(SETTLING).await;
    for process in site.all.lock().iter() {
        process.end();
    }
    time::sleep(Duration::from_secs(5)).await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    calm::check_leaks(&site, tasks);
    let open = world.oracle.lock().open_complaints();
    if open > 0 {
        world.violated(&format!("{open} sessions with a wrong maildrop have not ended"));
    }
}
