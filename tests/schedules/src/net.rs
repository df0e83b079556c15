//! Connection limits, and the connections that are shed for others.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use admission::{Admission, AllConnections, LimitReached};
use reprieve_sync::atomic::{AtomicU32, Ordering};
use waiting::Place;

#[path = "../../../host/proxy/src/net/admission.rs"]
mod admission;
#[path = "../../../host/proxy/src/net/waiting.rs"]
mod waiting;

const MAX_TOTAL: u32 = 3;
const MAX_PER_ADDRESS: u32 = 2;

/// An address of a network.
fn address(network: u8, host: u8) -> IpAddr {
    [192, 0, network, host].into()
}

/// The connections that have not ended, as the model counts them.
#[derive(Debug, Default)]
struct Open {
    places: Mutex<Vec<Arc<Place>>>,
    per_address: Mutex<HashMap<IpAddr, u32>>,
}

impl Open {
    fn enter(&self, place: &Arc<Place>) {
        self.places.lock().expect("no panic").push(place.clone());
    }

    /// Number of connections, now, that have not been shed by a little later.
    fn not_shed(&self) -> usize {
        let now = self.places.lock().expect("no panic").clone();
        let not_shed: Vec<_> = now.into_iter().filter(|place| !place.is_shed()).collect();
        // Who has ended meanwhile may have been shed before.
        let later = self.places.lock().expect("no panic");
        not_shed.iter().filter(|place| later.iter().any(|other| Arc::ptr_eq(other, place))).count()
    }

    fn leave(&self, place: &Arc<Place>) {
        self.places.lock().expect("no panic").retain(|other| !Arc::ptr_eq(other, place));
    }

    /// Adds to the connections of an address, and returns how many it has.
    fn count(&self, address: IpAddr, by: i32) -> u32 {
        let mut counts = self.per_address.lock().expect("no panic");
        let count = counts.entry(address).or_default();
        *count = count.strict_add_signed(by);
        *count
    }
}

/// More connections than may be open, of two networks.
pub fn connections_of_two_networks() {
    let all = Arc::<AllConnections>::default();
    let admission = Admission::new(all.clone(), MAX_TOTAL, MAX_PER_ADDRESS);
    let open = Open::default();
    thread::scope(|scope| {
        for number in 0..6 {
            let (admission, open) = (&admission, &open);
            scope.spawn(move || connect(admission, open, address(u8::from(number == 5), number % 2)));
        }
    });
    assert_eq!(all.open(), 0, "connections are still counted");
    // Who comes now has all places, of each network and of each address.
    let admit = |host| admission.admit(address(7, host)).and_then(|admitted| admitted.from(address(7, host)));
    let of_one: Vec<_> = (0..=MAX_PER_ADDRESS).map(|_| admit(1)).collect();
    assert!(of_one[..MAX_PER_ADDRESS as usize].iter().all(Result::is_ok));
    assert_eq!(of_one.last().and_then(|last| last.as_ref().err()), Some(&LimitReached::PerAddress));
}

fn connect(admission: &Arc<Admission>, open: &Open, from: IpAddr) {
    let Ok(admitted) = admission.admit(from) else { return };
    let place = admitted.place().expect("it has not logged in");
    open.enter(&place);
    let not_shed = open.not_shed();
    assert!(not_shed <= MAX_TOTAL as usize, "{not_shed} connections");
    // A load balancer may have told another address, which may have too many.
    let told = if thread_rng().gen_bool(0.3) { address(9, 9) } else { from };
    open.leave(&place);
    if let Ok(mut counted) = admitted.from(told) {
        open.enter(&place);
        assert!(open.count(told, 1) <= MAX_PER_ADDRESS);
        let is_in = thread_rng().gen_bool(0.5) && counted.logs_in();
        thread::yield_now();
        assert!(!(is_in && place.is_shed()), "shed after its login");
        open.count(told, -1);
        open.leave(&place);
        drop(counted);
    }
}

/// A connection does nothing, and its place is needed.
pub fn a_shed_connection_ends() {
    let all = Arc::<AllConnections>::default();
    let admission = Admission::new(all.clone(), 2, 9);
    let [oldest, other] = [0, 1].map(|host| admission.admit(address(1, host)).expect("there is room"));
    thread::scope(|scope| {
        scope.spawn(move || {
            let place = oldest.place().expect("it has not logged in");
            // The session looks for bytes, and others may run meanwhile.
            let bytes = AtomicU32::new(0);
            let session =
                poll_fn(|_| if bytes.load(Ordering::SeqCst) == 0 { Poll::Pending } else { Poll::Ready(()) });
            assert_eq!(block_on(place.unless_shed(pin!(session))), None);
        });
        scope.spawn(|| assert!(admission.admit(address(2, 0)).is_ok()));
    });
    drop(other);
    assert_eq!(all.open(), 0);
}

/// A connection logs in while its place is needed: either it stays, or it ends.
pub fn a_login_is_shed_or_stays() {
    let all = Arc::<AllConnections>::default();
    let admission = Admission::new(all.clone(), 2, 9);
    let [mut logs_in, other] = [0, 1].map(|host| admission.admit(address(1, host)).expect("there is room"));
    thread::scope(|scope| {
        let newcomer = scope.spawn(|| admission.admit(address(2, 0)));
        let login = scope.spawn(move || {
            let stays = logs_in.logs_in();
            (stays, logs_in)
        });
        let (stays, logged_in) = login.join().expect("no panic");
        let newcomer = newcomer.join().expect("no panic");
        assert_eq!(stays, newcomer.is_err(), "one of the two, and not the other connection");
        assert_eq!(all.open(), 2 + u32::from(newcomer.is_ok()));
        drop((logged_in, other, newcomer));
    });
    assert_eq!(all.open(), 0);
}
