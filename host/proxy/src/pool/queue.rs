//! Session slots at nodes with a session limit, and the queue of logins that wait for one. A freed
//! slot goes to the login that has waited longest for it; a new login cannot overtake.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::node::Node;
use crate::config::NodeMode;
#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_sync::Mutex;
use reprieve_sync::atomic::{AtomicBool, Ordering};

/// A session slot at a node, counted as one of its sessions until dropped.
#[derive(Debug)]
pub(super) struct SessionSlot {
    /// None only during `drop` and `into_node`.
    node: Option<Arc<Node>>,
    queue: Arc<Queue>,
}

impl SessionSlot {
    /// The node of the slot.
    pub(super) fn node(&self) -> &Arc<Node> {
        self.node.as_ref().unwrap_or_else(|| unreachable!("a session slot without its node"))
    }

    /// Consumes the slot without releasing it.
    fn into_node(mut self) -> Option<Arc<Node>> {
        self.node.take()
    }
}

impl Drop for SessionSlot {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            let queue = self.queue.clone();
            queue.release(node);
        }
    }
}

#[derive(Debug)]
struct Waiter {
    /// The nodes that the login may use, none of which it has tried yet.
    nodes: Box<[Arc<Node>]>,
    sender: oneshot::Sender<SessionSlot>,
}

/// The logins of a pool that wait for a session slot, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiters: Mutex<VecDeque<Waiter>>,
    /// Whether a node with a session limit was ever requested; if not, no login can be waiting.
    limited: AtomicBool,
}

/// Result of requesting a session slot.
#[derive(Debug)]
pub(super) enum SlotRequest {
    /// A slot was free.
    Granted(SessionSlot),
    /// The login waits in the queue, and gets its slot from the channel.
    Queued(oneshot::Receiver<SessionSlot>),
    /// The queue is full.
    QueueFull,
}

impl Queue {
    /// Takes a slot at the first of these nodes that has a free one, or joins the queue.
    pub(super) fn acquire(self: &Arc<Self>, nodes: &[Arc<Node>], max_waiting: u32) -> SlotRequest {
        let slot = |node: &Arc<Node>| SessionSlot { node: Some(node.clone()), queue: self.clone() };
        // Without a session limit no login waits, so no lock is needed.
        if let Some(node) = nodes.first()
            && !node.is_limited()
            && node.take_session()
        {
            return SlotRequest::Granted(slot(node));
        }
        self.limited.store(true, Ordering::SeqCst);
        let mut waiters = self.waiters.lock();
        if let Some(node) = nodes.iter().find(|node| node.take_session()) {
            return SlotRequest::Granted(slot(node));
        }
        waiters.retain(|waiter| !waiter.sender.is_closed());
        if waiters.len() >= max_waiting as usize {
            return SlotRequest::QueueFull;
        }
        let (sender, receiver) = oneshot::channel();
        waiters.push_back(Waiter { nodes: nodes.into(), sender });
        SlotRequest::Queued(receiver)
    }

    /// Number of waiting logins.
    pub(super) fn len(&self) -> usize {
        self.waiters.lock().iter().filter(|waiter| !waiter.sender.is_closed()).count()
    }

    fn release(self: &Arc<Self>, node: Arc<Node>) {
        if !self.limited.load(Ordering::SeqCst) {
            node.end_session();
            // A reload may have limited the node meanwhile. Flag and counts are sequentially consistent:
            // either the first login at its limit has seen the slot that is free now, or this sees that
            // it waits.
            if !self.limited.load(Ordering::SeqCst) {
                return;
            }
            node.count_session();
        }
        let mut waiters = self.waiters.lock();
        // A reload may also have lowered the limit, which is that of the login's configuration.
        let is_wanted = |own: &Node| node.mode() == NodeMode::Enabled && !own.is_over_limit();
        if !self.give_to_waiter(&mut waiters, &node, is_wanted) {
            node.end_session();
        }
    }

    /// Gives an already counted slot to the login that has waited longest for it, and whose own node of
    /// this server `is_wanted`. Returns whether one has taken it.
    fn give_to_waiter(
        self: &Arc<Self>,
        waiters: &mut VecDeque<Waiter>,
        node: &Arc<Node>,
        is_wanted: impl Fn(&Node) -> bool,
    ) -> bool {
        // The slot may come from a session of a previous configuration: it becomes one at the node of
        // the login's configuration.
        let wanted = |waiter: &Waiter| {
            waiter.nodes.iter().find(|own| own.is_same_server(node) && is_wanted(own)).cloned()
        };
        while let Some((at, own)) =
            waiters.iter().enumerate().find_map(|(at, waiter)| Some((at, wanted(waiter)?)))
        {
            let Some(waiter) = waiters.remove(at) else { return false };
            let slot = SessionSlot { node: Some(own), queue: self.clone() };
            match waiter.sender.send(slot) {
                Ok(()) => return true,
                // The login has timed out. Dropping the slot would lock the queue again.
                Err(slot) => {
                    drop(slot.into_node());
                    #[cfg(test)]
                    if planted(Fault::LostQueueSlot) {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Gives the free slots of healthy nodes to waiting logins. Called when nodes become available, or
    /// their limits are raised: those of `nodes` count.
    pub(super) fn assign_free_slots(self: &Arc<Self>, nodes: &[Arc<Node>]) {
        let mut waiters = self.waiters.lock();
        for node in nodes.iter().filter(|node| node.mode() == NodeMode::Enabled && node.is_healthy()) {
            while !waiters.is_empty() && node.take_session() {
                if !self.give_to_waiter(&mut waiters, node, |_| true) {
                    node.end_session();
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeConfig;

    fn nodes(limits: &[u32]) -> Vec<Arc<Node>> {
        let config = |limit| NodeConfig { max_sessions: Some(limit), ..NodeConfig::new("127.0.0.1:1") };
        limits.iter().enumerate().map(|(index, &limit)| Arc::new(Node::new(index, &config(limit)))).collect()
    }

    fn granted(asked: SlotRequest) -> SessionSlot {
        match asked {
            SlotRequest::Granted(slot) => slot,
            other => panic!("{other:?}"),
        }
    }

    fn queued(asked: SlotRequest) -> oneshot::Receiver<SessionSlot> {
        match asked {
            SlotRequest::Queued(receiver) => receiver,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_freed_slot_goes_to_the_login_that_has_waited_longest() {
        let (queue, nodes) = (Arc::new(Queue::default()), nodes(&[1]));
        let first = granted(queue.acquire(&nodes, 9));
        let timed_out = queued(queue.acquire(&nodes, 9));
        let mut second = queued(queue.acquire(&nodes, 9));
        let mut third = queued(queue.acquire(&nodes, 9));
        drop(timed_out);
        drop(first);
        let second = second.try_recv().expect("the second login is next");
        assert!(third.try_recv().is_err());
        assert_eq!(nodes[0].sessions(), 1);
        drop(second);
        drop(third);
        assert_eq!(nodes[0].sessions(), 0, "a slot that was not received is free again");
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn the_queue_is_limited() {
        let (queue, nodes) = (Arc::new(Queue::default()), nodes(&[1]));
        let _slot = granted(queue.acquire(&nodes, 1));
        let waiting = queued(queue.acquire(&nodes, 1));
        assert!(matches!(queue.acquire(&nodes, 1), SlotRequest::QueueFull));
        drop(waiting);
        assert!(matches!(queue.acquire(&nodes, 1), SlotRequest::Queued(_)));
        assert!(matches!(queue.acquire(&nodes, 0), SlotRequest::QueueFull));
    }

    #[test]
    fn logins_that_wait_respect_the_limit_that_a_reload_has_set() {
        let (queue, before) = (Arc::new(Queue::default()), nodes(&[3]));
        let mut slots: Vec<_> = (0..3).map(|_| granted(queue.acquire(&before, 9))).collect();
        let mut limited = nodes(&[1]);
        Arc::get_mut(&mut limited[0]).expect("nobody else has it").inherit(&before[0]);
        let mut waiting = queued(queue.acquire(&limited, 9));
        for left in [2, 1] {
            slots.pop();
            assert_eq!((limited[0].sessions(), waiting.try_recv().is_err()), (left, true));
        }
        slots.pop();
        let _inside = waiting.try_recv().expect("a slot");
        // And if it is raised, those who wait get the new ones.
        let mut waiting = queued(queue.acquire(&limited, 9));
        let mut raised = nodes(&[2]);
        Arc::get_mut(&mut raised[0]).expect("nobody else has it").inherit(&limited[0]);
        queue.assign_free_slots(&raised);
        assert!(waiting.try_recv().is_ok());
    }

    #[test]
    fn a_login_that_waits_for_one_node_gets_no_other() {
        let (queue, nodes) = (Arc::new(Queue::default()), nodes(&[1, 1]));
        let one = granted(queue.acquire(&nodes[..1], 9));
        let other = granted(queue.acquire(&nodes[1..], 9));
        let mut own = queued(queue.acquire(&nodes[..1], 9));
        let mut any = queued(queue.acquire(&nodes, 9));
        drop(other);
        assert!(own.try_recv().is_err());
        assert_eq!(any.try_recv().unwrap().node().index, 1);
        drop(one);
        assert_eq!(own.try_recv().unwrap().node().index, 0);
    }

    #[test]
    fn a_node_that_becomes_available_gets_waiting_logins() {
        let (queue, nodes) = (Arc::new(Queue::default()), nodes(&[1, 2]));
        let _one = granted(queue.acquire(&nodes[..1], 9));
        let mut waiting: Vec<_> = (0..3).map(|_| queued(queue.acquire(&nodes[..1], 9))).collect();
        assert!(nodes[1].take_session() && nodes[1].take_session());
        let mut any = queued(queue.acquire(&nodes, 9));
        nodes[1].end_session();
        queue.assign_free_slots(&nodes);
        assert_eq!(any.try_recv().unwrap().node().index, 1);
        assert!(waiting.iter_mut().all(|receiver| receiver.try_recv().is_err()));
        assert_eq!(nodes[1].sessions(), 1, "slots that were not received are free again");
    }
}
