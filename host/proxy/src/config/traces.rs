//! OpenTelemetry traces: the collector, and the sampled fraction of the sessions.

use std::path::PathBuf;

use hyper::Uri;

use reprieve_settings::format::{Format, Type, custom, optional, path};
use reprieve_settings::{Error, Key, Location, Section, Table};

/// The path at which collectors accept traces by OTLP over HTTP.
const PATH: &str = "/v1/traces";

/// The unit of the sampled fraction.
const MILLION: u32 = 1_000_000;

/// OpenTelemetry traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracesConfig {
    /// URL of a collector that accepts OTLP over HTTP, with its path.
    pub endpoint: Uri,
    /// Certificate authorities of a collector with HTTPS (PEM); `None` for the system trust store.
    pub ca: Option<PathBuf>,
    /// How many of a million sessions are traced.
    pub sample: u32,
    /// Where it is configured.
    pub location: Location,
}

/// `[traces]`
impl Table for TracesConfig {
    type Output = Self;

    fn defaults() -> Self {
        Self { endpoint: Uri::default(), ca: None, sample: MILLION, location: "traces".into() }
    }

    fn keys() -> Vec<Key<Self>> {
        vec![
            Key::new(
                "endpoint",
                |traces: &mut Self| &mut traces.endpoint,
                collector(),
                "URL of an OpenTelemetry collector that accepts OTLP over HTTP.",
            )
            .required("\"http://127.0.0.1:4318\""),
            Key::new(
                "sample",
                |traces: &mut Self| &mut traces.sample,
                fraction(),
                "Fraction of the sessions that are traced, from 0.0 to 1.0.",
            ),
            Key::new(
                "ca",
                |traces: &mut Self| &mut traces.ca,
                optional(path()),
                "Certificate authorities of a collector with `https://` (PEM).",
            )
            .default_text("the system trust store")
            .example("\"/etc/reprieve/otel-ca.pem\"")
            .alternative(),
        ]
    }

    fn build(self, section: &Section<'_, '_>) -> Result<Self, Error> {
        match section.value("ca") {
            Some(ca) if self.endpoint.scheme_str() != Some("https") => {
                Err(ca.error("is for an `endpoint` that begins with https://"))
            }
            _ => Ok(Self { location: section.location(), ..self }),
        }
    }
}

fn collector() -> impl Format<Uri> {
    custom(
        Type::String("URL"),
        |value| {
            let expected = "the URL of a collector, such as \"http://127.0.0.1:4318\"";
            url(value.text()?).ok_or_else(|| value.expected(expected))
        },
        |_| None,
    )
}

/// A number from 0 to 1, kept in millionths.
fn fraction() -> impl Format<u32> {
    custom(
        Type::Fraction,
        |value| {
            let fraction = value.number().filter(|fraction| (0.0..=1.0).contains(fraction));
            fraction.map(millionths).ok_or_else(|| value.expected("a number from 0.0 to 1.0"))
        },
        |millionths| Some(format!("{:?}", f64::from(*millionths) / f64::from(MILLION))),
    )
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the fraction is from 0 to 1
fn millionths(fraction: f64) -> u32 {
    (fraction * f64::from(MILLION)).round() as u32
}

/// Parses the URL of a collector, and adds the standard path if it has none.
fn url(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let has_name = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if !has_name || !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
        return None;
    }
    match uri.path() {
        "/" | "" => format!("{}{PATH}", text.trim_end_matches('/')).parse().ok(),
        _ => Some(uri),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(traces: &str) -> Result<TracesConfig, String> {
        let text = format!(
            "threads = 1\ntraces = {{ {traces} }}\n[pool.mail]\nnodes = [\"a:110\"]\n[[virtual-server]]\n\
             name = \"one\"\nlisten = [\"127.0.0.1:110\"]\npool = \"mail\"\n"
        );
        let config = Config::parse(&text, "reprieve.toml").map_err(|error| error.to_string())?;
        config.traces.ok_or_else(|| "there are none".to_owned())
    }

    #[test]
    fn a_collector_is_named_with_or_without_its_path() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("https://otel.example/", "https://otel.example/v1/traces"),
            ("https://otel.example/in/v1/traces", "https://otel.example/in/v1/traces"),
        ] {
            let config = read(&format!("endpoint = {endpoint:?}")).unwrap();
            assert_eq!(config.endpoint.to_string(), expected);
            assert_eq!(config.sample, MILLION);
        }
        let config = read("endpoint = \"http://a\", sample = 0.25").unwrap();
        assert_eq!(config.sample, 250_000);
    }

    #[test]
    fn each_mistake_names_line_key_and_remedy() {
        for (traces, expected) in [
            ("sample = 1.0", "`traces.endpoint` is missing"),
            ("endpoint = \"127.0.0.1:4318\"", "http://127.0.0.1:4318"),
            ("endpoint = \"grpc://a\"", "http://127.0.0.1:4318"),
            ("endpoint = \"http://user:pass@a\"", "http://127.0.0.1:4318"),
            ("endpoint = \"http://a\", sample = 2", "from 0.0 to 1.0"),
            ("endpoint = \"http://a\", sample = \"all\"", "from 0.0 to 1.0"),
            ("endpoint = \"http://a\", ca = \"ca.pem\"", "https://"),
            ("endpoint = \"http://a\", samples = 1", "did you mean `sample`?"),
        ] {
            let error = read(traces).unwrap_err();
            assert!(
                error.starts_with("reprieve.toml:2: ")
                    && error.contains("`traces.")
                    && error.contains(expected),
                "{error}"
            );
        }
    }
}
