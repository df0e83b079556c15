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
    #[cfg(feature = "whole")]
    proxy_header: 2_000,
    #[cfg(feature = "whole")]
    sealed_record: 1_000,
    #[cfg(feature = "whole")]
    store_file: 30,
    #[cfg(feature = "whole")]
    redis_reply: 100,
    #[cfg(feature = "whole")]
    replay_log: 1_000,
    #[cfg(feature = "whole")]
    decision_log: 500,
    #[cfg(feature = "whole")]
    configuration: 200,
    #[cfg(feature = "whole")]
    new_mail: 1_000,
    #[cfg(feature = "policies")]
    components: 100,
}
