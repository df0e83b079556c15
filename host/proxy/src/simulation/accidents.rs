//! What happens to the site while clients poll: mail, outages, restarts, changes.

use std::sync::Arc;

use super::random::Random;
use super::site::Site;
use super::world::{NodeHealth, World, pause};

/// Starts everything that happens by itself.
pub(super) fn start(site: &Arc<Site>) {
    let world = &site.world;
    for user in 0..world.plan.users {
        tokio::spawn(deliver_mail(site.clone(), user, world.fork()));
        tokio::spawn(change_password(world.clone(), user, world.fork()));
    }
    tokio::spawn(replicate(site.clone(), world.fork()));
    let plan = &world.plan;
    for (times, accident) in [
        (plan.outages, Accident::Outage),
        (plan.store_faults, Accident::Store),
        (plan.takeovers, Accident::TakeOver),
        (plan.reloads, Accident::Reload),
        (plan.clock_jumps, Accident::Clock),
    ] {
        for _ in 0..times {
            tokio::spawn(happen(site.clone(), accident, world.fork()));
        }
    }
}

#[derive(Clone, Copy)]
enum Accident {
    Outage,
    Store,
    TakeOver,
    Reload,
    Clock,
}

/// Something happens at some time.
async fn happen(site: Arc<Site>, accident: Accident, mut random: Random) {
    let world = site.world.clone();
    pause(random.up_to(world.plan.active_s * 1000)).await;
    if world.is_calm() {
        return;
    }
    let proxy = random.at(world.plan.proxies);
    match accident {
        Accident::Outage => outage(&world, &mut random).await,
        Accident::Store => store_fault(&site, &mut random).await,
        Accident::TakeOver => site.take_over(proxy),
        Accident::Reload => site.reload(proxy),
        Accident::Clock => {
            let by_ms = i64::try_from(random.between(1_000, 120_000)).unwrap_or(0);
            let by_ms = if random.coin() { by_ms } else { -by_ms };
            world.note(&format_args!("the clock is set by {by_ms}"));
            world.clock.shift(by_ms);
        }
    }
}

async fn outage(world: &World, random: &mut Random) {
    let node = random.at(world.plan.nodes + 1);
    let health = *random.pick(&[NodeHealth::Refuses, NodeHealth::Silent]);
    let all = random.chance(300);
    let set = |health| {
        let mut nodes = world.nodes.lock();
        if all { nodes.fill(health) } else { nodes[node] = health }
    };
    world.note(&format_args!("node {node} {health:?}, all: {all}"));
    set(health);
    pause(random.between(1_000, 60_000)).await;
    set(NodeHealth::Up);
    world.note(&format_args!("node {node} is up"));
}

async fn store_fault(site: &Site, random: &mut Random) {
    let world = &site.world;
    if random.coin() {
        world.note(&"the store fails over");
        site.store.fail_over();
        world.oracle.lock().forget_rejections();
        return;
    }
    let process = site.current(random.at(world.plan.proxies));
    let Some(store) = process.store() else { return };
    world.note(&format_args!("proxy {} is partitioned from the store", store.proxy));
    store.set_partitioned(true);
    pause(random.between(500, 20_000)).await;
    store.set_partitioned(false);
    world.note(&format_args!("proxy {} reaches the store", store.proxy));
}

/// The store's replica follows with a lag.
async fn replicate(site: Arc<Site>, mut random: Random) {
    while !site.world.is_calm() {
        site.store.save();
        pause(random.between(200, 8_000)).await;
    }
}

async fn change_password(world: Arc<World>, user: usize, mut random: Random) {
    if !random.chance(400) {
        return;
    }
    pause(random.up_to(world.plan.active_s * 1000)).await;
    if world.is_calm() {
        return;
    }
    let now = world.oracle.lock().now();
    world.mail.lock().change_password(user, now);
    world.note(&format_args!("user{user} has a new password"));
}

async fn deliver_mail(site: Arc<Site>, user: usize, mut random: Random) {
    let world = site.world.clone();
    for _ in 0..random.up_to(3) {
        deliver(&world, user);
    }
    while !world.is_calm() {
        pause(random.between(2_000, 45_000)).await;
        if random.chance(100) {
            expunge_one(&world, user, &mut random);
        }
        if world.is_calm() {
            return;
        }
        let id = deliver(&world, user);
        if world.plan.signals.is_some() && !random.chance(world.plan.accidents.lost_signals) {
            tokio::spawn(signal(site.clone(), user, id, random.fork()));
        }
    }
}

/// A message arrives. Returns its unique-id.
pub(super) fn deliver(world: &World, user: usize) -> String {
    let id = world.mail.lock().deliver(user);
    world.oracle.lock().delivered(user, &id);
    world.note(&format_args!("{id} arrives for user{user}"));
    id
}

/// Another program, such as an IMAP client, deletes a message.
fn expunge_one(world: &World, user: usize, random: &mut Random) {
    let count = world.mail.lock().mailboxes[user].letters.len();
    if count > 0 {
        expunge(world, user, random.at(count));
    }
}

/// Another program deletes the message at this place.
pub(super) fn expunge(world: &World, user: usize, at: usize) {
    let id = world.mail.lock().mailboxes[user].letters[at].id.clone();
    world.mail.lock().expunge(user, &id);
    world.oracle.lock().expunged(&id, false);
    world.note(&format_args!("{id} is expunged elsewhere"));
}

/// The mail server tells the proxies of a message, one after the other until one has answered.
pub(super) async fn signal(site: Arc<Site>, user: usize, id: String, mut random: Random) {
    let world = &site.world;
    let slow_ms = if random.chance(100) { random.up_to(15_000) } else { random.up_to(500) };
    pause(slow_ms).await;
    let first = random.at(world.plan.proxies);
    for attempt in 0..world.plan.proxies {
        let process = site.current((first + attempt) % world.plan.proxies);
        let is_noted = process.hear(world.plan.pool(user), &site.signalled_name(user), &site.clock).await;
        world.note(&format_args!("process {} hears of {id}: {is_noted}", process.number));
        if is_noted {
            world.oracle.lock().signalled(&id);
            return;
        }
    }
}
