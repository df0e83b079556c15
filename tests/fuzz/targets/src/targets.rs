//! The targets, one per file. What each of them checks stands at the head of its file.

use crate::Target;

/// Declares the targets.
macro_rules! targets {
    ($($(#[$condition:meta])? $name:ident: $mutations:literal,)*) => {
        $($(#[$condition])?
        mod $name;
        $(#[$condition])?
        pub use $name::$name;)*

        /// All targets.
        pub const ALL: &[Target] = &[
            $($(#[$condition])?
            Target { name: stringify!($name), run: $name, mutations: $mutations },)*
        ];
    };
}

targets! {
    line_buffer: 2_000,
    authorization: 2_000,
    sasl: 2_000,
    relay: 2_000,
    snapshot: 2_000,
    posed: 2_000,
    lookup_table: 1_000,
}
