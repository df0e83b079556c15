//! Limits the memories of an instance together, and its tables together.

use wasmtime::ResourceLimiter;

use super::limits::TABLE_ELEMENTS;

/// The memories of an instance would need more than they may.
#[derive(Debug, thiserror::Error)]
#[error("memory limit reached")]
pub(super) struct CeilingReached;

/// What the memories and tables of an instance use, and may use.
pub(super) struct Ceiling {
    /// Bytes of all memories.
    limit: u64,
    used: u64,
    table_elements: usize,
}

impl Ceiling {
    /// `limit`: bytes of all memories together.
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, used: 0, table_elements: 0 }
    }

    /// Bytes of all memories.
    pub(super) fn used(&self) -> u64 {
        self.used
    }
}

impl ResourceLimiter for Ceiling {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if is_above(desired, maximum) {
            return Ok(false);
        }
        // A memory with 64-bit addresses can ask for nearly all of them.
        let used = self.used.saturating_add(desired.saturating_sub(current) as u64);
        if used > self.limit {
            // An error instead of a refusal, because a guest's own message is rarely clear.
            return Err(wasmtime::Error::new(CeilingReached));
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if is_above(desired, maximum) {
            return Ok(false);
        }
        let elements = self.table_elements.saturating_add(desired.saturating_sub(current));
        let fits = elements <= TABLE_ELEMENTS;
        if fits {
            self.table_elements = elements;
        }
        Ok(fits)
    }
}

/// The engine asks even if the growth fails anyway, because of what the component itself declares. Then
/// nothing is used.
fn is_above(desired: usize, maximum: Option<usize>) -> bool {
    maximum.is_some_and(|maximum| desired > maximum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 64 << 10;
    /// The most that the engine says a memory with 64-bit addresses asks for.
    const ALL: usize = 0_usize.wrapping_sub(PAGE);

    #[test]
    fn no_memory_can_ask_for_so_much_that_the_limit_is_lost() {
        let mut ceiling = Ceiling::new(4 * PAGE as u64);
        assert!(ceiling.memory_growing(0, 2 * PAGE, None).unwrap());
        for desired in [ALL, ALL - PAGE, ALL / 2] {
            assert!(ceiling.memory_growing(0, desired, None).is_err(), "{desired:#x}");
        }
        assert_eq!(ceiling.used(), 2 * PAGE as u64);
        assert!(ceiling.memory_growing(0, 3 * PAGE, None).is_err());
        assert!(ceiling.memory_growing(2 * PAGE, 4 * PAGE, None).unwrap());
    }

    #[test]
    fn what_a_memory_can_never_get_does_not_count() {
        let mut ceiling = Ceiling::new(4 * PAGE as u64);
        for _ in 0..10 {
            assert!(!ceiling.memory_growing(PAGE, 3 * PAGE, Some(2 * PAGE)).unwrap());
        }
        assert_eq!(ceiling.used(), 0);
        let mut tables = Ceiling::new(0);
        for _ in 0..10 {
            assert!(!tables.table_growing(0, TABLE_ELEMENTS, Some(1)).unwrap());
        }
        assert!(tables.table_growing(0, TABLE_ELEMENTS, None).unwrap());
        assert!(!tables.table_growing(0, 1, None).unwrap());
    }
}
