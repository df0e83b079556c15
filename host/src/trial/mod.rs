//! Policies tried on a desk: in virtual time, without sockets.

mod login;

pub use login::Who;
