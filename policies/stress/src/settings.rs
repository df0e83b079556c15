//! The policy's settings.

use crate::bindings::reprieve::policy::types::Manner;
use crate::rule::{Signal, Signals};

#[derive(Debug)]
pub(crate) struct Settings {
    /// At the maximum of stress.
    pub(crate) interval_s: u64,
    pub(crate) signals: Signals,
    pub(crate) manner: Manner,
}

impl Settings {
    pub(crate) fn parse(given: &[(String, String)]) -> Result<Self, String> {
        let mut settings = Self {
            interval_s: 600,
            signals: Signals {
                sessions: Signal { low: 100, high: 400 },
                waiting: Signal { low: 0, high: 50 },
                latency: Signal { low: 200, high: 2000 },
            },
            manner: Manner::Unchanged,
        };
        for (key, value) in given {
            let signals = &mut settings.signals;
            match key.as_str() {
                "interval" => settings.interval_s = seconds(key, value)?,
                "sessions" => signals.sessions = signal(key, value, number, "\"100 to 400\"")?,
                "waiting" => signals.waiting = signal(key, value, number, "\"0 to 50\"")?,
                "latency" => signals.latency = signal(key, value, milliseconds, "\"200ms to 2s\"")?,
                "manner" => settings.manner = manner(key, value)?,
                _ => {
                    return Err(format!(
                        "unknown setting `{key}`; known settings: interval, sessions, waiting, latency, manner"
                    ));
                }
            }
        }
        Ok(settings)
    }
}

fn manner(key: &str, value: &str) -> Result<Manner, String> {
    match value {
        "unchanged" => Ok(Manner::Unchanged),
        "empty" => Ok(Manner::Empty),
        "busy" => Ok(Manner::Busy),
        _ => Err(format!("`{key}` is \"{value}\"; it can be \"unchanged\", \"empty\", \"busy\"")),
    }
}

/// Parses `100 to 400`.
fn signal(key: &str, value: &str, read: fn(&str) -> Option<u64>, example: &str) -> Result<Signal, String> {
    value
        .split_once(" to ")
        .and_then(|(low, high)| Some(Signal { low: read(low.trim())?, high: read(high.trim())? }))
        .filter(|signal| signal.low < signal.high)
        .ok_or_else(|| {
            format!(
                "`{key}` is \"{value}\"; it reads like {example}: the values of no stress and of full stress"
            )
        })
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (amount, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    amount.parse::<u64>().ok()?.checked_mul(factor)
}

fn seconds(key: &str, value: &str) -> Result<u64, String> {
    milliseconds(value)
        .map(|ms| ms / 1000)
        .filter(|&seconds| (1..=31_536_000).contains(&seconds))
        .ok_or_else(|| format!("`{key}` is \"{value}\"; a duration reads like \"90s\", \"10m\" or \"1h\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(key: &str, value: &str) -> Result<Settings, String> {
        Settings::parse(&[(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn each_setting_is_read() {
        assert_eq!(parse("interval", "1h").unwrap().interval_s, 3600);
        let latency = parse("latency", "500ms to 3s").unwrap().signals.latency;
        assert_eq!(latency, Signal { low: 500, high: 3000 });
        assert_eq!(parse("waiting", "5 to 6").unwrap().signals.waiting, Signal { low: 5, high: 6 });
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (key, value, expected) in [
            ("interval", "0s", "10m"),
            ("sessions", "400 to 100", "\"100 to 400\""),
            ("sessions", "+1 to 5", "\"100 to 400\""),
            ("latency", "200", "\"200ms to 2s\""),
            ("manner", "refuse", "\"busy\""),
            ("level", "3", "known settings: interval"),
        ] {
            let error = parse(key, value).unwrap_err();
            assert!(error.contains(expected) && error.contains(&format!("`{key}`")), "{error}");
        }
    }
}
