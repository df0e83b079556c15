//! What a remembered user takes, as requested from the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reprieve::maildrop::{LeftMaildrop, MaybeReady, Opening, Registry, Tagger};
use reprieve_policy_host::MemoryKey;
use reprieve_pop3::credential::{Credentials, Mechanism, Secret};
use reprieve_pop3::snapshot::Snapshot;
use reprieve_store::Namespace;
use reprieve_store::clock::ManualClock;

use crate::alone::alone;
use crate::support::proxy::NOON;

/// Counts the bytes of all blocks.
struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: each call passes the caller's arguments on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.dealloc(block, layout) }
    }
}

const USERS: usize = 30_000;
/// The target, for names of 22 bytes.
const MOST_BYTES: usize = 120;
const DAY: Duration = Duration::from_secs(86_400);

/// Each user has passed, left an empty maildrop and was posed to; a third have new mail since. The policy
/// remembers two numbers, as `interval` does.
#[test]
fn a_remembered_user_takes_at_most_120_bytes() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let tagger = Tagger::new().unwrap();
    let before = BYTES.load(Ordering::Relaxed);
    let registry = Registry::new(1 << 32, DAY);
    let policy = Namespace::in_memory(1 << 32, ManualClock::new(NOON));
    for number in 0..USERS {
        let name = format!("user{number:06}@example.org");
        let key = MemoryKey::new(&name, None);
        runtime.block_on(policy.set(key.stored(), &[7; 8], Some(DAY))).unwrap().unwrap();
        let user = tagger.user("mail", name.as_bytes());
        let secret = Credentials::new(name.as_bytes(), Secret::new(b"secret"), Mechanism::UserPass);
        let tag = Some(tagger.tag(user, &secret));
        let fetched = runtime.block_on(registry.look(user, tag.as_ref(), NOON));
        let opening = Opening { user, tag, route: None, accepted_ms: NOON, fetched, expects_signals: true };
        let MaybeReady::Ready(session) = registry.begin(opening) else { panic!("a store in this process") };
        assert!(
            registry.commit(session, LeftMaildrop::without_deletions(Snapshot::default(), NOON)).is_none()
        );
        if number.is_multiple_of(3) {
            assert!(runtime.block_on(registry.hear(user, NOON, NOON)).unwrap());
        } else {
            registry.pose(user, NOON);
        }
    }
    let bytes = (BYTES.load(Ordering::Relaxed) - before) / USERS;
    println!("{bytes} bytes for each of {USERS} users");
    assert!(bytes <= MOST_BYTES, "{bytes} bytes for each of {USERS} users");
}
