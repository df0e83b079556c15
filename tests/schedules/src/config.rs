//! What nodes use of the configuration, whose own module knows how it is written.

/// As the product's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeMode {
    Enabled,
    Drain,
    Disabled,
}

/// As the product's.
#[derive(Debug)]
pub struct NodeConfig {
    pub address: String,
    pub weight: u32,
    pub backup: bool,
    pub max_sessions: Option<u32>,
    pub mode: NodeMode,
}
