//! The protocol of new mail in all interleavings of a few logins, deliveries and accidents. The
//! registries are the real ones, driven in the order in which sessions call them; the mail server and
//! the clients are a model.
//!
//! The check sees only what a client can see. A login that is posed is shown each message that was
//! signalled, or shown to a client, before the login looked, unless it was deleted, and none whose
//! deletion was confirmed before. When all has ended, users are relieved again: a signal costs one pass,
//! and an unknown user two. In every state one more login is tried, so two logins stand for three of
//! which the last is posed at once.
//!
//! Each state is explored once, from its saved content. A signal is answered, and a reply forwarded, in
//! the step that writes: if that came later, the proxy would owe less.
//!
//! Not covered: other sessions between the two writes of one session with `share = "tags"`, to the store
//! and to the memory of the proxy, and a store that fails. A store in memory answers at once.
//!
//! `REPRIEVE_INTERLEAVINGS=all` explores more, which takes some minutes.

mod canon;
mod model;
mod site;
mod state;

use std::collections::HashSet;

use model::{Model, Violation, messages_of};
use reprieve_store::Share;
use site::{Content, Site};
use state::{Messages, Phase, State, Step};

/// How it begins, and what happens at most.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Whether the user has a snapshot at the first proxy.
    is_known: bool,
    proxies: u64,
    logins: usize,
    deliveries: usize,
    evictions: u8,
    /// Connections that are lost in the middle of a session.
    failures: u8,
    /// Restarts of the store with what it had saved at any moment before.
    rollbacks: u8,
}

/// A mistake in the order of the steps that the exploration has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The session remembers the signals until its first reply, not until its look.
    HeardAtBegin,
    /// An upgraded session remembers the signals until then, not those that the snapshot has.
    HeardAnewAtUpgrade,
    /// A signal that came while there was no record is not taken into account.
    NewRecordNotInDoubt,
    /// The session begins when the mail server says +OK to the login.
    BeginAtOk,
    /// Sessions that list a deleted message may leave a snapshot.
    DeletionKeepsLatest,
    /// Sessions that have not seen the signalled message may leave a snapshot.
    SignalClearsSnapshotOnly,
    /// A signal gets the number of an earlier one that a session remembers.
    NumberUsedAgain,
    /// The session does not notice another that has begun since its look.
    BeginWithoutComparing,
    /// The session remembers the signals until its end, not until its look.
    CurrentHeardAtCommit,
    /// The proxies do not notice that the store has lost writes.
    RollbackUnnoticed,
}

/// The states that were found.
#[derive(Debug, Default)]
struct Explored {
    states: HashSet<(u64, u64)>,
    steps: u64,
    quiet: u64,
    posed: u64,
}

/// A violation, and the steps that lead to it.
type Counterexample = (Vec<Step>, Violation);

/// Takes all steps from a state that is reached by `path`.
fn explore(
    model: &Model,
    state: &State,
    path: &mut Vec<Step>,
    explored: &mut Explored,
) -> Result<(), Counterexample> {
    if !explored.states.insert(canon::fingerprint(state)) {
        return Ok(());
    }
    let stopped = |violation| (path.clone(), violation);
    model.check_login_now(state).map_err(stopped)?;
    if state.is_quiet() {
        explored.quiet += 1;
        check_quiet(model, state).map_err(stopped)?;
    }
    for step in state.steps(model.site.share, model.fault) {
        path.push(step);
        explored.steps += 1;
        match model.take(state, step) {
            Ok(Some(after)) => {
                explored.posed += u64::from(matches!(step, Step::Pose(_)));
                explore(model, &after, path, explored)?;
            }
            Ok(None) => {}
            Err(violation) => return Err((path.clone(), violation)),
        }
        path.pop();
    }
    Ok(())
}

/// Checks how many logins pass until one is posed, when all has ended and again after a signal.
fn check_quiet(model: &Model, state: &State) -> Result<(), Violation> {
    let Content { here, stored, .. } = &state.content;
    let user = if model.site.share == Share::Off { &here[0] } else { stored };
    let is_known = user.as_ref().is_some_and(|user| user.heard != 0);
    let mut state = State { logins: state.logins[..1].to_vec(), ..state.clone() };
    let most = if is_known { 1 } else { 2 };
    pass_until_posed(model, &mut state, most)?;
    model.site.restore(&state.content);
    model.hear(0);
    state.content = model.site.save();
    state.visible |= 0x80;
    state.known |= 0x80;
    pass_until_posed(model, &mut state, 1)
}

/// Logs in until a login is posed, and checks that this client sees the whole maildrop.
fn pass_until_posed(model: &Model, state: &mut State, most: u32) -> Result<(), Violation> {
    for passes in 0..=most {
        let look = Step::Look { login: 0, proxy: 0 };
        let looked = model.take(state, look)?.ok_or("no look")?;
        if let Some(posed) = model.take(&looked, Step::Pose(0))? {
            let Phase::Posed(shown, _) = &posed.logins[0].phase else { return Err("not posed".into()) };
            let (shown, visible): (Messages, _) = (messages_of(&shown.snapshot), posed.visible);
            if shown != visible {
                return Err(format!("{shown:08b} is shown of {visible:08b} after {passes} passes"));
            }
            *state = posed;
            return Ok(());
        }
        *state = looked;
        let needs_record = state.steps(model.site.share, None).contains(&Step::Reserve(0));
        let reserve = needs_record.then_some(Step::Reserve(0));
        for step in reserve.into_iter().chain([Step::Fix(0), Step::Begin(0), Step::End(0)]) {
            *state = model.take(state, step)?.ok_or("no pass")?;
        }
    }
    Err(format!("more than {most} logins pass although nothing happens"))
}

fn run(share: Share, bounds: Bounds, fault: Option<Fault>) -> (Explored, Result<(), Counterexample>) {
    let model = Model { site: Site::new(share, bounds.proxies), fault };
    let mut state = State::new(&model.site, bounds);
    if bounds.is_known {
        pass_until_posed(&model, &mut state, 2).unwrap();
        state.logins = State::new(&model.site, bounds).logins;
    }
    let mut explored = Explored::default();
    let result = explore(&model, &state, &mut Vec::new(), &mut explored);
    (explored, result)
}

fn assert_sound(share: Share, bounds: Bounds) {
    let began = std::time::Instant::now();
    let (explored, result) = run(share, bounds, None);
    println!(
        "{share:?}, {bounds:?}: {} states, {} steps, {} posed, {} quiet, {:?}",
        explored.states.len(),
        explored.steps,
        explored.posed,
        explored.quiet,
        began.elapsed()
    );
    assert!(explored.quiet > 0);
    if let Err((path, violation)) = result {
        panic!("{share:?}: {violation} after {path:?}");
    }
}

/// Two logins and a delivery.
const SMALL: Bounds =
    Bounds { is_known: true, proxies: 1, logins: 2, deliveries: 1, evictions: 0, failures: 0, rollbacks: 0 };

fn explores_all() -> bool {
    std::env::var("REPRIEVE_INTERLEAVINGS").is_ok_and(|which| which == "all")
}

#[test]
fn no_client_is_shown_a_stale_maildrop_of_users_in_this_process() {
    let accidents = Bounds { evictions: 1, failures: 1, ..SMALL };
    for is_known in [true, false] {
        assert_sound(Share::Off, Bounds { is_known, ..accidents });
    }
    let three = Bounds { logins: 3, ..SMALL };
    assert_sound(Share::Off, three);
    assert_sound(Share::Off, Bounds { deliveries: 2, ..SMALL });
    if explores_all() {
        assert_sound(Share::Off, Bounds { is_known: false, ..three });
        assert_sound(Share::Off, Bounds { evictions: 1, failures: 1, ..three });
        assert_sound(Share::Off, Bounds { deliveries: 2, evictions: 1, ..three });
    }
}

/// Bounds for users in a store, where each step takes ten times as long.
fn assert_sound_in_a_store(share: Share) {
    let two = Bounds { proxies: 2, ..SMALL };
    assert_sound(share, Bounds { is_known: false, ..SMALL });
    assert_sound(share, two);
    assert_sound(share, Bounds { logins: 1, evictions: 1, failures: 1, ..two });
    assert_sound(share, Bounds { logins: 1, rollbacks: 1, ..two });
    if explores_all() {
        for is_known in [true, false] {
            let two = Bounds { is_known, ..two };
            assert_sound(share, Bounds { evictions: 1, failures: 1, ..two });
            assert_sound(share, Bounds { rollbacks: 1, ..two });
            assert_sound(share, Bounds { deliveries: 2, evictions: 1, ..two });
        }
        assert_sound(share, Bounds { logins: 3, ..SMALL });
    }
}

#[test]
fn no_client_is_shown_a_stale_maildrop_if_tags_are_shared() {
    assert_sound_in_a_store(Share::Tags);
}

#[test]
fn no_client_is_shown_a_stale_maildrop_if_snapshots_are_shared() {
    assert_sound_in_a_store(Share::TagsAndSnapshots);
}

#[test]
fn each_planted_fault_is_found() {
    let faults = [
        Fault::HeardAtBegin,
        Fault::HeardAnewAtUpgrade,
        Fault::BeginAtOk,
        Fault::DeletionKeepsLatest,
        Fault::SignalClearsSnapshotOnly,
        Fault::BeginWithoutComparing,
        Fault::CurrentHeardAtCommit,
    ];
    for share in [Share::Off, Share::Tags, Share::TagsAndSnapshots] {
        for fault in faults {
            assert_found(share, SMALL, fault);
        }
    }
    // Users in a store have a record before their credentials are sent, so no signal passes them by.
    assert_found(Share::Off, Bounds { evictions: 1, ..SMALL }, Fault::NewRecordNotInDoubt);
    // Tokens are not used again.
    assert_found(Share::Off, Bounds { logins: 1, deliveries: 2, ..SMALL }, Fault::NumberUsedAgain);
    let restart = Bounds { rollbacks: 1, ..SMALL };
    assert_found(Share::Tags, restart, Fault::RollbackUnnoticed);
    assert_found(Share::TagsAndSnapshots, restart, Fault::RollbackUnnoticed);
}

/// Checks that the exploration finds a client that is shown a stale maildrop.
fn assert_found(share: Share, bounds: Bounds, fault: Fault) {
    let (explored, result) = run(share, bounds, Some(fault));
    let Err((path, violation)) = result else { panic!("{fault:?} is not found with {share:?}") };
    println!("{share:?}, {fault:?}: {violation} after {path:?}, {} states", explored.states.len());
    assert!(violation.contains("a client is shown"), "{violation}");
}
