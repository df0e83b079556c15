//! Connections in memory. Bytes arrive in pieces and late; a connection can end, break or hang.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::time::{Instant, Sleep, sleep_until};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::random::Random;
use super::world::world;

/// Bytes that may be under way in one direction.
const WINDOW: usize = 4 << 10;

/// How late bytes arrive, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    pub most_ms: u64,
    /// How many of a thousand writes take much longer.
    pub slow: u64,
}

/// What one side has written and the other has not read.
#[derive(Debug, Default)]
struct Way {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    last_arrival: Option<Instant>,
    /// When the end of the stream arrives.
    end: Option<Instant>,
    /// Whether the side that writes is gone.
    writer_gone: bool,
    reader_waker: Option<Waker>,
    writer_waker: Option<Waker>,
}

#[derive(Debug)]
struct Link {
    /// By the side that writes.
    ways: [Way; 2],
    /// When each side learns that the connection has broken.
    broken: [Option<Instant>; 2],
    random: Random,
    latency: Latency,
}

impl Link {
    fn delay(&mut self) -> Duration {
        let Latency { most_ms, slow } = self.latency;
        let is_calm = world().is_none_or(|world| world.is_calm());
        let is_slow = self.random.chance(slow) && !is_calm;
        let slow_ms = if is_slow { self.random.up_to(50 * most_ms + 1000) } else { 0 };
        Duration::from_millis(self.random.up_to(most_ms) + slow_ms)
    }

    /// When something arrives that a side sends now: never before what it has sent earlier.
    fn arrival(&mut self, side: usize) -> Instant {
        let arrival = Instant::now() + self.delay();
        let way = &mut self.ways[side];
        let arrival = way.last_arrival.map_or(arrival, |last| last.max(arrival));
        way.last_arrival = Some(arrival);
        arrival
    }

    fn send(&mut self, side: usize, bytes: &[u8]) -> usize {
        let room = WINDOW.saturating_sub(self.ways[side].bytes);
        let taken = &bytes[..bytes.len().min(room)];
        let mut rest = taken;
        while !rest.is_empty() {
            let is_split = rest.len() > 1 && self.random.chance(300);
            let length = if is_split { 1 + self.random.at(rest.len() - 1) } else { rest.len() };
            let arrival = self.arrival(side);
            self.ways[side].pieces.push_back((arrival, rest[..length].to_vec()));
            rest = &rest[length..];
        }
        self.ways[side].bytes += taken.len();
        self.wake_reader(side);
        taken.len()
    }

    fn end(&mut self, side: usize) {
        if self.ways[side].end.is_none() {
            self.ways[side].end = Some(self.arrival(side));
            self.wake_reader(side);
        }
    }

    /// The connection breaks: both sides learn of it, this one at once.
    fn break_off(&mut self, side: usize) {
        let now = Instant::now();
        self.broken[side].get_or_insert(now);
        let arrival = self.arrival(side);
        self.broken[1 - side].get_or_insert(arrival);
        for way in 0..2 {
            self.wake_reader(way);
            self.wake_writer(way);
        }
    }

    fn wake_reader(&mut self, way: usize) {
        if let Some(waker) = self.ways[way].reader_waker.take() {
            waker.wake();
        }
    }

    fn wake_writer(&mut self, way: usize) {
        if let Some(waker) = self.ways[way].writer_waker.take() {
            waker.wake();
        }
    }
}

/// One side of a connection.
#[derive(Debug)]
pub(crate) struct Endpoint {
    link: Arc<Mutex<Link>>,
    side: usize,
    timer: Pin<Box<Sleep>>,
}

/// The two sides of a new connection.
pub(super) fn connection(random: Random, latency: Latency) -> (Endpoint, Endpoint) {
    let link = Link { ways: Default::default(), broken: [None; 2], random, latency };
    let link = Arc::new(Mutex::new(link));
    let side = |side| Endpoint { link: link.clone(), side, timer: Box::pin(sleep_until(Instant::now())) };
    (side(0), side(1))
}

impl Endpoint {
    /// See [`Stream::try_write`](crate::net::Stream::try_write).
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.link.lock().send(self.side, bytes))
    }

    /// Bytes that the other side has not read.
    pub(crate) fn unacknowledged_bytes(&self) -> u64 {
        self.link.lock().ways[self.side].bytes as u64
    }

    /// Breaks the connection instead of closing it.
    pub(super) fn break_off(&self) {
        self.link.lock().break_off(self.side);
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let mut link = self.link.lock();
        link.end(self.side);
        link.ways[self.side].writer_gone = true;
        link.wake_writer(1 - self.side);
    }
}

impl AsyncRead for Endpoint {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { link, side, timer } = self.get_mut();
        let mut link = link.lock();
        let from = 1 - *side;
        let now = Instant::now();
        let broken = link.broken[*side];
        let way = &mut link.ways[from];
        let next = match way.pieces.front_mut() {
            Some((arrival, piece)) if *arrival <= now => {
                let count = piece.len().min(buffer.remaining());
                buffer.put_slice(&piece[..count]);
                piece.drain(..count);
                if piece.is_empty() {
                    way.pieces.pop_front();
                }
                way.bytes -= count;
                link.wake_writer(from);
                return Poll::Ready(Ok(()));
            }
            _ if broken.is_some_and(|broken| broken <= now) => {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            None if way.end.is_some_and(|end| end <= now) => return Poll::Ready(Ok(())),
            front => {
                let arrival = front.map(|(arrival, _)| *arrival).or(way.end);
                let next = arrival.into_iter().chain(broken).min();
                way.reader_waker = Some(task.waker().clone());
                next
            }
        };
        drop(link);
        if let Some(next) = next {
            timer.as_mut().reset(next);
            if timer.as_mut().poll(task).is_ready() {
                task.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

impl AsyncWrite for Endpoint {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut link = self.link.lock();
        let now = Instant::now();
        if link.broken[self.side].is_some_and(|broken| broken <= now) || link.ways[self.side].end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if link.ways[1 - self.side].writer_gone {
            // Nobody reads this: the answer is a reset.
            let learned = link.arrival(self.side) + link.delay();
            link.broken[self.side].get_or_insert(learned);
            link.wake_reader(1 - self.side);
            return Poll::Ready(Ok(bytes.len()));
        }
        let count = link.send(self.side, bytes);
        if count == 0 && !bytes.is_empty() {
            link.ways[self.side].writer_waker = Some(task.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.lock().end(self.side);
        Poll::Ready(Ok(()))
    }
}

/// An attempt to connect.
type Connecting = Pin<Box<dyn Future<Output = io::Result<Endpoint>> + Send>>;

/// Connects to a node of the world that this thread simulates. None if it simulates none.
pub(crate) fn connect(address: SocketAddr) -> Option<Connecting> {
    let world = world()?;
    Some(Box::pin(async move { super::mail_server::accept(&world, address).await }))
}
