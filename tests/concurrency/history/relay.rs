//! A TCP relay between a proxy and its store, which a test can cut, silence and point elsewhere.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Whether bytes get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passage {
    /// They do.
    Open,
    /// Connections are reset and refused.
    Cut,
    /// Connections stay, and nothing comes through until this ends.
    Silent,
}

struct State {
    target: SocketAddr,
    passage: Passage,
    /// How long bytes that came during a silence stay on their way when it is over.
    late: Duration,
    open: Vec<TcpStream>,
    ended: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The relay; dropping it ends it.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Relay {
    /// Starts one that leads to this address.
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let state =
            State { target, passage: Passage::Open, late: Duration::ZERO, open: Vec::new(), ended: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let passage = {
                    let state = accepting.state();
                    if state.ended {
                        return;
                    }
                    state.passage
                };
                if let (Ok(stream), true) = (stream, passage != Passage::Cut) {
                    let shared = accepting.clone();
                    std::thread::spawn(move || shared.connect(stream));
                }
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets all connections, and refuses new ones.
    pub fn cut(&self) {
        self.shared.change(|state| {
            state.passage = Passage::Cut;
            state.close();
        });
    }

    /// Keeps all bytes back. Those of connections that are open now get through so much later than the
    /// silence ends, as by retransmission: new connections overtake them.
    pub fn silence(&self, late: Duration) {
        self.shared.change(|state| (state.passage, state.late) = (Passage::Silent, late));
    }

    /// Lets bytes through again.
    pub fn heal(&self) {
        self.shared.change(|state| state.passage = Passage::Open);
    }

    /// Leads to another address from now on. Open connections are reset.
    pub fn lead_to(&self, target: SocketAddr) {
        self.shared.change(|state| {
            state.target = target;
            state.close();
        });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.ended = true;
            state.close();
        });
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn close(&mut self) {
        for stream in self.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread has panicked")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Waits until bytes get through; returns whether they were kept back, and how late they are.
    fn passes(&self) -> (bool, Duration) {
        let mut was_silent = false;
        let state = self.state();
        let state = self
            .changed
            .wait_while(state, |state| {
                let is_silent = state.passage == Passage::Silent && !state.ended;
                was_silent |= is_silent;
                is_silent
            })
            .expect("no thread has panicked");
        (was_silent, state.late)
    }

    fn connect(self: Arc<Self>, client: TcpStream) {
        self.passes();
        let target = self.state().target;
        let Ok(server) = TcpStream::connect(target) else { return };
        let ends = [&client, &server].map(|end| {
            let _ = end.set_nodelay(true);
            (end.try_clone().expect("a second handle"), end.try_clone().expect("a third handle"))
        });
        let [(client_kept, client_end), (server_kept, server_end)] = ends;
        {
            let mut state = self.state();
            if state.target != target || state.passage == Passage::Cut || state.ended {
                let _ = client.shutdown(Shutdown::Both);
                return;
            }
            state.open.extend([client_kept, server_kept]);
        }
        let back = self.clone();
        std::thread::spawn(move || back.copy(server, client_end));
        self.copy(client, server_end);
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let (was_kept, late) = self.passes();
            if was_kept {
                // What comes late is the fault that is tested.
                std::thread::sleep(late);
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        self.passes();
        let _ = to.shutdown(Shutdown::Write);
    }
}
