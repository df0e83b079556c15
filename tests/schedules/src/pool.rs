//! Session slots at nodes, and the queue of logins that wait for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use node::Node;
use queue::{Queue, SessionSlot, SlotRequest};

use crate::config::{NodeConfig, NodeMode};

#[path = "../../../host/proxy/src/pool/node.rs"]
mod node;
#[path = "../../../host/proxy/src/pool/queue.rs"]
mod queue;

/// Logins that may wait.
const MAX_WAITING: u32 = 8;

fn node(index: usize, max_sessions: Option<u32>) -> Node {
    let address = format!("127.0.0.1:{}", 1 + index);
    Node::new(index, &NodeConfig { address, weight: 1, backup: false, max_sessions, mode: NodeMode::Enabled })
}

fn nodes(limits: &[u32]) -> Vec<Arc<Node>> {
    limits.iter().enumerate().map(|(index, limit)| Arc::new(node(index, Some(*limit)))).collect()
}

/// A queue, and what its sessions must not exceed.
struct Site {
    queue: Arc<Queue>,
    nodes: Vec<Arc<Node>>,
    limits: Vec<u32>,
    /// Sessions at each node.
    held: Vec<AtomicU32>,
}

impl Site {
    fn new(limits: &[u32]) -> Self {
        let held = limits.iter().map(|_| AtomicU32::new(0)).collect();
        Self { queue: Arc::default(), nodes: nodes(limits), limits: limits.to_vec(), held }
    }

    /// A login that may use these nodes: waits for its slot, or gives up.
    fn log_in(&self, nodes: &[Arc<Node>], may_give_up: bool) {
        match self.queue.acquire(nodes, MAX_WAITING) {
            SlotRequest::Granted(slot) => self.hold(slot),
            SlotRequest::Queued(receiver) if may_give_up && thread_rng().gen_bool(0.5) => {
                thread::yield_now();
                drop(receiver);
            }
            SlotRequest::Queued(receiver) => self.hold(block_on(receiver).expect("no slot is lost")),
            SlotRequest::QueueFull => panic!("there is room"),
        }
    }

    fn hold(&self, slot: SessionSlot) {
        let at = slot.node().index;
        let held = self.held[at].fetch_add(1, Ordering::SeqCst) + 1;
        assert!(held <= self.limits[at], "node {at}: {held} sessions");
        thread::yield_now();
        self.held[at].fetch_sub(1, Ordering::SeqCst);
        drop(slot);
    }

    fn check_that_it_is_over(&self) {
        let sessions: Vec<_> = self.nodes.iter().map(|node| node.sessions()).collect();
        assert!(sessions.iter().all(|count| *count == 0), "slots were lost: {sessions:?}");
        assert_eq!(self.queue.len(), 0);
    }
}

/// Logins for one node, for the other, and for both.
pub fn logins_of_limited_nodes() {
    let site = Site::new(&[1, 2]);
    thread::scope(|scope| {
        for login in 0..6 {
            let nodes = [&site.nodes[..1], &site.nodes[1..], &site.nodes[..]][login % 3];
            let site = &site;
            scope.spawn(move || site.log_in(nodes, true));
        }
    });
    site.check_that_it_is_over();
}

/// Logins wait, and some give up, while an administrator drains the node and enables it.
pub fn drained_and_enabled_again() {
    let site = Site::new(&[1]);
    thread::scope(|scope| {
        for login in 0..4 {
            let site = &site;
            scope.spawn(move || site.log_in(&site.nodes, login % 2 == 0));
        }
        scope.spawn(|| {
            site.nodes[0].set_mode(NodeMode::Drain);
            thread::yield_now();
            site.nodes[0].set_mode(NodeMode::Enabled);
            site.queue.assign_free_slots(&site.nodes);
        });
    });
    site.check_that_it_is_over();
}

/// The node has no limit, and gets one in a reload, while a session of before ends.
pub fn limit_by_reload() {
    let site = Site::new(&[1]);
    let before = [Arc::new(node(0, None))];
    let SlotRequest::Granted(slot) = site.queue.acquire(&before, MAX_WAITING) else { panic!("no limit") };
    let mut limited = node(0, Some(1));
    limited.inherit(&before[0]);
    let after = [Arc::new(limited)];
    thread::scope(|scope| {
        scope.spawn(|| drop(slot));
        scope.spawn(|| site.log_in(&after, false));
    });
    assert_eq!(after[0].sessions(), 0);
    site.check_that_it_is_over();
}

/// The node has three sessions when a reload limits it to one; logins wait, and must not keep it at three.
pub fn limit_lowered_by_reload() {
    let site = Site::new(&[1]);
    let before = [Arc::new(node(0, Some(3)))];
    let slots: Vec<_> = (0..3)
        .map(|_| match site.queue.acquire(&before, MAX_WAITING) {
            SlotRequest::Granted(slot) => slot,
            other => panic!("{other:?}"),
        })
        .collect();
    let mut limited = node(0, Some(1));
    limited.inherit(&before[0]);
    let after = [Arc::new(limited)];
    thread::scope(|scope| {
        for slot in slots {
            scope.spawn(move || drop(slot));
        }
        for _ in 0..2 {
            scope.spawn(|| site.log_in(&after, false));
        }
    });
    assert_eq!(after[0].sessions(), 0);
    site.check_that_it_is_over();
}
