//! Listening, connections of clients, and how many of them there may be. It knows no POP3.

mod admission;
mod listener;
mod stream;

pub use admission::{Admission, Admitted, Refused};
pub use listener::{BindError, bind};
pub use stream::Stream;
