//! Read-only tables that policies look into. Where they come from is the proxy's business.

/// Tables by name.
pub trait Lookups: Send + Sync + std::fmt::Debug {
    /// The value of a key; inner None if the table does not have the key, outer None if there is no
    /// such table.
    fn get(&self, table: &str, key: &str) -> Option<Option<Box<str>>>;

    /// Whether a table has a key; None if there is no such table.
    fn contains(&self, table: &str, key: &str) -> Option<bool>;

    /// Names of the tables.
    fn names(&self) -> Vec<String>;
}

/// No tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLookups;

impl Lookups for NoLookups {
    fn get(&self, _: &str, _: &str) -> Option<Option<Box<str>>> {
        None
    }

    fn contains(&self, _: &str, _: &str) -> Option<bool> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}
