//! OpenTelemetry traces: where they go, and of how many sessions.

use std::path::PathBuf;

use hyper::Uri;

use reprieve_settings::Location;
use reprieve_settings::{Error, Value};

/// Where OTLP takes traces by HTTP.
const PATH: &str = "/v1/traces";

/// What `sample` is a part of.
const MILLION: u32 = 1_000_000;

/// OpenTelemetry traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracesConfig {
    /// URL that takes OTLP by HTTP, with its path.
    pub endpoint: Uri,
    /// Who signs the certificate of a collector with https, where not whom the machine trusts.
    pub ca: Option<PathBuf>,
    /// How many of a million sessions are traced.
    pub sample: u32,
    /// Where it is configured.
    pub location: Location,
}

/// Reads the section.
pub(super) fn traces(value: &Value<'_, '_>) -> Result<TracesConfig, Error> {
    let mut section = value.section()?;
    let endpoint = section.required("endpoint", "\"http://127.0.0.1:4318\"")?;
    let uri = url(endpoint.text()?)
        .ok_or_else(|| endpoint.expected("the URL of a collector, such as \"http://127.0.0.1:4318\""))?;
    let ca = section.get("ca");
    if let Some(ca) = &ca
        && uri.scheme_str() != Some("https")
    {
        return Err(ca.error("is for an `endpoint` that begins with https://"));
    }
    let sample = section.get("sample").map(|sample| {
        sample
            .number()
            .filter(|sample| (0.0..=1.0).contains(sample))
            .ok_or_else(|| sample.expected("a number from 0.0 to 1.0"))
    });
    let config = TracesConfig {
        endpoint: uri,
        ca: ca.map(|ca| ca.path()).transpose()?,
        sample: sample.transpose()?.map_or(MILLION, millionths),
        location: value.location(),
    };
    section.finish()?;
    Ok(config)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it is from 0 to 1
fn millionths(part: f64) -> u32 {
    (part * f64::from(MILLION)).round() as u32
}

/// What stands for a collector without a path gets the usual one.
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
            assert!(error.starts_with("reprieve.toml:2: `traces.") && error.contains(expected), "{error}");
        }
    }
}
