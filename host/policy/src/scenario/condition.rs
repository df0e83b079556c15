//! Conditions on a value: equal, not equal, or in a range.

use reprieve_settings::{Error, Value};

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition<T> {
    /// This value.
    Is(T),
    /// None of these values, or missing.
    Not(Vec<T>),
    /// In this range; the limits are included.
    Range { at_least: Option<T>, at_most: Option<T> },
}

impl<T: PartialEq + PartialOrd> Condition<T> {
    /// Reads a value that has no order: `"busy"`, `{ not = "busy" }` or `{ not = ["busy", "empty"] }`.
    pub(super) fn read(
        value: &Value<'_, '_>,
        item: impl Fn(&Value<'_, '_>) -> Result<T, Error>,
    ) -> Result<Self, Error> {
        Self::read_form(value, item, false)
    }

    /// Reads a number: as [`read`](Self::read), or `{ at-least = 540, at-most = 600 }` with one or both
    /// limits.
    pub(super) fn read_number(
        value: &Value<'_, '_>,
        item: impl Fn(&Value<'_, '_>) -> Result<T, Error>,
    ) -> Result<Self, Error> {
        Self::read_form(value, item, true)
    }

    fn read_form(
        value: &Value<'_, '_>,
        item: impl Fn(&Value<'_, '_>) -> Result<T, Error>,
        is_number: bool,
    ) -> Result<Self, Error> {
        if !value.is_table() {
            return item(value).map(Self::Is).map_err(|error| error.or(forms(is_number)));
        }
        let mut section = value.section()?;
        let not = section.get("not");
        let (least, most) =
            if is_number { (section.get("at-least"), section.get("at-most")) } else { (None, None) };
        let condition = match (not, &least, &most) {
            (Some(not), None, None) => Self::Not(match not.list() {
                Ok(items) if items.is_empty() => return Err(not.error("is empty; name at least one value")),
                Ok(items) => items.iter().map(&item).collect::<Result<_, _>>()?,
                Err(_) => vec![item(&not)?],
            }),
            (Some(not), ..) => return Err(not.error("cannot be combined with a range")),
            (None, None, None) => {
                // A misspelt key is more likely than an empty table.
                section.finish()?;
                return Err(value.error(format!("is empty; it must be a value, or {}", forms(is_number))));
            }
            (None, least, most) => {
                let limit = |value: &Option<Value<'_, '_>>| value.as_ref().map(&item).transpose();
                let (at_least, at_most) = (limit(least)?, limit(most)?);
                if let (Some(low), Some(high)) = (&at_least, &at_most)
                    && low > high
                {
                    return Err(value.error("contains no value: `at-least` is greater than `at-most`"));
                }
                Self::Range { at_least, at_most }
            }
        };
        section.finish()?;
        Ok(condition)
    }

    pub(super) fn holds(&self, value: Option<&T>) -> bool {
        match self {
            Self::Is(expected) => value == Some(expected),
            Self::Not(excluded) => value.is_none_or(|value| !excluded.contains(value)),
            Self::Range { at_least, at_most } => value.is_some_and(|value| {
                at_least.as_ref().is_none_or(|least| value >= least)
                    && at_most.as_ref().is_none_or(|most| value <= most)
            }),
        }
    }

    /// The condition for reports; `show` formats a value.
    pub(super) fn describe(&self, show: impl Fn(&T) -> String) -> String {
        match self {
            Self::Is(expected) => show(expected),
            Self::Not(excluded) => {
                format!("not {}", excluded.iter().map(show).collect::<Vec<_>>().join(" or "))
            }
            Self::Range { at_least: Some(least), at_most: Some(most) } => {
                format!("from {} to {}", show(least), show(most))
            }
            Self::Range { at_least: Some(least), .. } => format!("at least {}", show(least)),
            Self::Range { at_most, .. } => {
                format!("at most {}", at_most.as_ref().map(show).unwrap_or_default())
            }
        }
    }
}

/// The accepted forms beside a plain value, for errors.
fn forms(is_number: bool) -> &'static str {
    if is_number {
        "a table such as { at-least = …, at-most = … } or { not = … }"
    } else {
        "a table such as { not = … }"
    }
}

#[cfg(test)]
mod tests {
    use reprieve_settings::{Section, Source};

    use super::*;

    fn read(text: &str, is_number: bool) -> Result<Condition<u64>, String> {
        let text = format!("key = {text}");
        let source = Source { file: "f", text: &text };
        let document = source.parse().map_err(|error| error.to_string())?;
        let section = Section::new(source, "", document.span(), document.get_ref());
        let item = |value: &Value<'_, '_>| value.count(0, 1000);
        Condition::read_form(&section.value("key").unwrap(), item, is_number)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_condition_is_a_value_its_negation_or_a_range() {
        for (text, described, holds, fails) in [
            ("5", "5", &[Some(5)][..], &[Some(4), None][..]),
            ("{ not = 5 }", "not 5", &[Some(4), None], &[Some(5)]),
            ("{ not = [5, 6] }", "not 5 or 6", &[Some(4), None], &[Some(5), Some(6)]),
            ("{ at-least = 5 }", "at least 5", &[Some(5), Some(9)], &[Some(4), None]),
            ("{ at-most = 5 }", "at most 5", &[Some(5), Some(0)], &[Some(6), None]),
            ("{ at-least = 5, at-most = 6 }", "from 5 to 6", &[Some(5), Some(6)], &[Some(4), Some(7), None]),
        ] {
            let condition = read(text, true).unwrap();
            assert_eq!(condition.describe(u64::to_string), described);
            for value in holds {
                assert!(condition.holds(value.as_ref()), "{text} {value:?}");
            }
            for value in fails {
                assert!(!condition.holds(value.as_ref()), "{text} {value:?}");
            }
        }
    }

    #[test]
    fn a_wrong_form_is_answered_with_the_accepted_forms() {
        for (text, is_number, expected) in [
            ("\"5..6\"", true, "{ at-least = …, at-most = … } or { not = … }"),
            ("\"!5\"", false, "or a table such as { not = … }"),
            ("{}", true, "{ at-least = …, at-most = … }"),
            ("{ at_least = 5 }", true, "did you mean `at-least`?"),
            ("{ at-least = 5 }", false, "unknown key `key.at-least`; known keys: not"),
            ("{ at-least = 6, at-most = 5 }", true, "contains no value"),
            ("{ not = [] }", true, "at least one value"),
            ("{ not = 5, at-most = 5 }", true, "cannot be combined with a range"),
            ("{ not = \"x\" }", true, "`key.not` is the string \"x\"; it must be a whole number"),
        ] {
            let error = read(text, is_number).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
