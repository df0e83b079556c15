//! Enumerations whose values are words in logs, JSON and metrics.

/// Declares an enumeration once, each value with its word. What it makes beside the enumeration:
/// `ALL` and `COUNT`, `name` (the word), `index` (the place in `ALL`, for a
/// [`Family`](crate::Family) of counters) and `named` (the value of a word).
///
/// ```
/// reprieve_metrics::labels! {
///     /// Weather.
///     pub enum Weather {
///         /// Dry.
///         Sunny = "sunny",
///         /// Wet.
///         Rain = "rain",
///     }
/// }
/// assert_eq!(Weather::Rain.name(), "rain");
/// assert_eq!(Weather::named("sunny"), Some(Weather::Sunny));
/// assert_eq!(Weather::ALL.map(Weather::index), [0, 1]);
/// ```
#[macro_export]
macro_rules! labels {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$variant_attribute:meta])* $variant:ident = $word:literal),+ $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $visibility enum $name {
            $($(#[$variant_attribute])* $variant),+
        }

        #[allow(dead_code, reason = "no enumeration needs all of it")]
        impl $name {
            /// How many values there are.
            pub const COUNT: usize = [$($word),+].len();
            /// All values, in the order of their declaration.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),+];

            /// The word in logs, JSON and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            /// The place in [`Self::ALL`].
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }

            /// The value whose word this is.
            #[must_use]
            pub fn named(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|value| value.name() == word)
            }
        }
    };
}
