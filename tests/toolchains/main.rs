//! Policies in all languages: the templates, the ports of the default policy and the collection
//! under `policies/`. `policies/build` installs the toolchains and builds the policies.

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "these tests use a part of it")]
mod support;

mod interval_ports;
mod policy_collection;
mod templates;
