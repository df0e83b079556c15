//! Containers for state that is kept per user: as few bytes as possible for each of a million
//! users, and no pause when a table grows.
//!
//! | module | instead of | what it saves |
//! | --- | --- | --- |
//! | [`slab`] | `Vec<Option<T>>`, `HashMap<u32, T>` | spare capacity, and the copy when a `Vec` grows |
//! | [`byte_slab`] | `Vec<Box<[u8]>>` | a pointer and a length per value, and the allocator's rounding |
//! | [`slot_index`] | `HashTable<u32>` | the spare capacity, and the tables that are left when it grows |
//! | [`sharding`] | `hash % SHARDS` | the moment at which all hash tables double at once |
//!
//! Each module states its figures, from one core of a small virtual machine; `cargo bench --package
//! reprieve-containers` measures them again.
//! `tests/models.rs` compares each container with the standard one that it replaces, over random
//! operations.
//!
//! This crate knows nothing about what is stored: no users, no policies, no clock. A new container
//! belongs here if it exists for the sake of memory or speed; code that uses it should read as if
//! it were a `HashMap`.

pub mod byte_slab;
pub mod sharding;
pub mod slab;
pub mod slot_index;
