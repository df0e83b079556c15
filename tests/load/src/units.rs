//! Parsers for command-line values.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

/// Maximum number of addresses taken from a network.
const MAX_SOURCES: usize = 4096;

/// Parses a duration such as `500ms`, `30s`, `10m` or `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a duration needs a unit: 500ms, 30s, 10m or 1h".to_string()),
    };
    let number: u64 = number.parse().map_err(|_| "a duration is a number and a unit, such as 30s")?;
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(|| "the duration is too long".to_string())
}

/// Parses a rate in sessions per second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("a rate is a number above zero".to_string()),
    }
}

/// Addresses to connect from, parsed from one address or from a network such as `127.0.1.0/24`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources(pub(crate) Vec<IpAddr>);

impl std::str::FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(vec![address]));
        }
        let network: IpNet =
            text.parse().map_err(|_| "expected an address, or a network such as 127.0.1.0/24".to_string())?;
        Ok(Self(network.hosts().take(MAX_SOURCES).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "5", "s", "1.5s", "-1s", "1d", "99999999999999999999h", "18446744073709551615h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_network_stands_for_its_host_addresses() {
        let sources: Sources = "127.0.1.0/24".parse().unwrap();
        assert_eq!(sources.0.len(), 254);
        assert_eq!(sources.0[0], "127.0.1.1".parse::<IpAddr>().unwrap());
        assert_eq!("::1".parse::<Sources>().unwrap().0.len(), 1);
        assert_eq!("127.0.0.0/8".parse::<Sources>().unwrap().0.len(), MAX_SOURCES);
        assert!("localhost".parse::<Sources>().is_err());
    }

    #[test]
    fn rates_are_above_zero() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "nan", "inf", "fast"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
