//! What the tests of orderings and histories share: a mail server whose moments the test
//! chooses, proxies in front of it, clients that note what they see, and the rules that a
//! history must keep.

pub mod chain;
pub mod checker;
pub mod client;
pub mod known;
pub mod mail_server;
pub mod printed;
pub mod proxies;
pub mod raw;
pub mod record;
pub mod relay;
pub mod script;
pub mod shared_store;
pub mod stepwise;
