//! Places at nodes that may have only so many sessions, and logins that wait for one. A place
//! that becomes free is handed to whoever waits longest for it: nobody can overtake.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::node::Node;
use crate::config::NodeMode;

/// A place at a node, counted as one of its sessions while this lives.
#[derive(Debug)]
pub(super) struct Place {
    /// None only while it is handed on.
    node: Option<Arc<Node>>,
    queue: Arc<Queue>,
}

impl Place {
    /// Whose place it is.
    pub(super) fn node(&self) -> &Arc<Node> {
        // It is None only inside `drop` and `give_up`.
        self.node.as_ref().unwrap_or_else(|| unreachable!("a place without its node"))
    }

    fn give_up(mut self) -> Option<Arc<Node>> {
        self.node.take()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            let queue = self.queue.clone();
            queue.release(node);
        }
    }
}

#[derive(Debug)]
struct Waiter {
    /// The nodes of which one will do: none that the login has tried.
    nodes: Box<[Arc<Node>]>,
    give: oneshot::Sender<Place>,
}

/// The logins that wait at a pool.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiters: Mutex<VecDeque<Waiter>>,
    /// Whether a node has ever been limited: else nobody waits.
    limited: AtomicBool,
}

/// What asking for a place led to.
#[derive(Debug)]
pub(super) enum Asked {
    /// There it is.
    Place(Place),
    /// It comes when one is free.
    Wait(oneshot::Receiver<Place>),
    /// As many wait as may.
    Full,
}

impl Queue {
    /// Takes a place at the first of these nodes that has one, or waits.
    pub(super) fn ask(self: &Arc<Self>, nodes: &[Arc<Node>], most_waiting: u32) -> Asked {
        let place = |node: &Arc<Node>| Place { node: Some(node.clone()), queue: self.clone() };
        // Where nothing is limited nobody waits, and nothing need be locked.
        if let Some(node) = nodes.first()
            && !node.is_limited()
            && node.take_session()
        {
            return Asked::Place(place(node));
        }
        self.limited.store(true, Ordering::Relaxed);
        let mut waiters = self.waiters.lock();
        if let Some(node) = nodes.iter().find(|node| node.take_session()) {
            return Asked::Place(place(node));
        }
        waiters.retain(|waiter| !waiter.give.is_closed());
        if waiters.len() >= most_waiting as usize {
            return Asked::Full;
        }
        let (give, get) = oneshot::channel();
        waiters.push_back(Waiter { nodes: nodes.into(), give });
        Asked::Wait(get)
    }

    /// Logins that wait.
    pub(super) fn len(&self) -> usize {
        self.waiters.lock().iter().filter(|waiter| !waiter.give.is_closed()).count()
    }

    fn release(self: &Arc<Self>, node: Arc<Node>) {
        if !self.limited.load(Ordering::Relaxed) {
            node.end_session();
            return;
        }
        let mut waiters = self.waiters.lock();
        if node.mode() != NodeMode::Enabled || !self.hand_over(&mut waiters, &node) {
            node.end_session();
        }
    }

    /// Gives a place that is counted already to whoever waits longest for it.
    fn hand_over(self: &Arc<Self>, waiters: &mut VecDeque<Waiter>, node: &Arc<Node>) -> bool {
        // The place may come from a session of a configuration before: it becomes one at the
        // node as the login knows it.
        let wanted = |waiter: &Waiter| waiter.nodes.iter().find(|own| own.is(node)).cloned();
        while let Some((at, own)) =
            waiters.iter().enumerate().find_map(|(at, waiter)| Some((at, wanted(waiter)?)))
        {
            let Some(waiter) = waiters.remove(at) else { return false };
            let place = Place { node: Some(own), queue: self.clone() };
            match waiter.give.send(place) {
                Ok(()) => return true,
                // It has given up meanwhile; the lock is held, so the place must not be dropped.
                Err(place) => drop(place.give_up()),
            }
        }
        false
    }

    /// Nodes have become available: hands out what they have.
    pub(super) fn serve(self: &Arc<Self>, nodes: &[Arc<Node>]) {
        let mut waiters = self.waiters.lock();
        for node in nodes.iter().filter(|node| node.mode() == NodeMode::Enabled && node.is_healthy()) {
            while !waiters.is_empty() && node.take_session() {
                if !self.hand_over(&mut waiters, node) {
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

    fn place(asked: Asked) -> Place {
        match asked {
            Asked::Place(place) => place,
            other => panic!("{other:?}"),
        }
    }

    fn wait(asked: Asked) -> oneshot::Receiver<Place> {
        match asked {
            Asked::Wait(get) => get,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_free_place_goes_to_whoever_waits_longest_and_still_waits() {
        let (queue, nodes) = (Arc::new(Queue::default()), nodes(&[1]));
        let first = place(queue.ask(&nodes, 9));
        let gone = wait(queue.ask(&nodes, 9));
        let mut second = wait(queue.ask(&nodes, 9));
        let mut third = wait(queue.ask(&nodes, 9));
        drop(gone);
        drop(first);
        let second = second.try_recv().expect("its turn");
        assert!(third.try_recv().is_err());
        assert_eq!(nodes[0].sessions(), 1);
        drop(second);
        drop(third);
        assert_eq!(nodes[0].sessions(), 0, "a place that nobody took is free");
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn as_many_wait_as_may() {
        let (queue, nodes) = (Arc::new(Queue::default()), nodes(&[1]));
        let _place = place(queue.ask(&nodes, 1));
        let waiting = wait(queue.ask(&nodes, 1));
        assert!(matches!(queue.ask(&nodes, 1), Asked::Full));
        drop(waiting);
        assert!(matches!(queue.ask(&nodes, 1), Asked::Wait(_)));
        assert!(matches!(queue.ask(&nodes, 0), Asked::Full));
    }

    #[test]
    fn who_waits_for_one_node_gets_no_other() {
        let (queue, nodes) = (Arc::new(Queue::default()), nodes(&[1, 1]));
        let one = place(queue.ask(&nodes[..1], 9));
        let other = place(queue.ask(&nodes[1..], 9));
        let mut own = wait(queue.ask(&nodes[..1], 9));
        let mut any = wait(queue.ask(&nodes, 9));
        drop(other);
        assert!(own.try_recv().is_err());
        assert_eq!(any.try_recv().unwrap().node().index, 1);
        drop(one);
        assert_eq!(own.try_recv().unwrap().node().index, 0);
    }

    #[test]
    fn a_node_that_comes_back_serves_those_who_wait() {
        let (queue, nodes) = (Arc::new(Queue::default()), nodes(&[1, 2]));
        let _one = place(queue.ask(&nodes[..1], 9));
        let mut waiting: Vec<_> = (0..3).map(|_| wait(queue.ask(&nodes[..1], 9))).collect();
        assert!(nodes[1].take_session() && nodes[1].take_session());
        let mut any = wait(queue.ask(&nodes, 9));
        nodes[1].end_session();
        queue.serve(&nodes);
        assert_eq!(any.try_recv().unwrap().node().index, 1);
        assert!(waiting.iter_mut().all(|get| get.try_recv().is_err()));
        assert_eq!(nodes[1].sessions(), 1, "what was handed out and dropped is free again");
    }
}
