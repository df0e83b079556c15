//! What is installed beside the binary, and Reprieve as a system service.

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "these tests use a part of it")]
mod support;

mod deb;
mod package;
mod service;
