//! Turns the bytes of a fuzzer into choices, and cuts streams of bytes into the parts in which a network
//! may deliver them.

use std::sync::LazyLock;

use reprieve_pop3::capability::Capabilities;

/// The capabilities of a virtual server without settings.
pub fn capabilities() -> &'static Capabilities {
    static DEFAULT: LazyLock<Capabilities> = LazyLock::new(Capabilities::default);
    &DEFAULT
}

/// The bytes of a fuzzer that are not used yet. At their end, every choice is the first one.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// Reads from the beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte, or 0.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// A number below `limit`, which is at most 256.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    /// One of these.
    pub fn choice<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A number of up to 64 bits; small ones are as frequent as large ones.
    pub fn number(&mut self) -> u64 {
        let length = self.below(9);
        (0..length).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// Up to 255 bytes, whose number comes first.
    pub fn chunk(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (chunk, rest) = self.0.split_at(length);
        self.0 = rest;
        chunk
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// How a stream of bytes arrives.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// All at once.
    Whole,
    /// Byte by byte.
    Bytes,
    /// In parts of lengths that this number determines.
    Seed(u8),
}

impl Cut {
    /// The parts of a stream, none of which is empty.
    pub fn parts(self, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut rest = bytes;
        let mut state = match self {
            Self::Seed(seed) => u64::from(seed) + 1,
            Self::Whole | Self::Bytes => 0,
        };
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let length = match self {
                Self::Whole => rest.len(),
                Self::Bytes => 1,
                Self::Seed(_) => {
                    state = next_random(state);
                    // Mostly short parts, and some that are longer than a command may be.
                    let most = if state & 7 == 0 { 600 } else { 24 };
                    usize::try_from(state >> 8).unwrap_or(0) % most + 1
                }
            };
            let (part, after) = rest.split_at(length.min(rest.len()));
            rest = after;
            Some(part)
        })
    }
}

/// The state of a xorshift generator after this one, which is not 0.
pub(crate) fn next_random(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    state
}
