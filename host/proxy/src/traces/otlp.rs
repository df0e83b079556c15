//! OTLP's JSON: a request with spans (opentelemetry-proto, `ExportTraceServiceRequest`). Its
//! protobuf says the same; JSON needs nothing that is not here already.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// How a span stands to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A part of what this process does.
    Internal = 1,
    /// It answers a client.
    Server = 2,
    /// It asks a server.
    Client = 3,
}

/// What OpenTelemetry takes for an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Value {
    #[serde(rename = "stringValue")]
    Text(String),
    #[serde(rename = "boolValue")]
    Truth(bool),
    /// As text: JSON's own numbers have 53 bits.
    #[serde(rename = "intValue")]
    Number(String),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number.to_string())
    }
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Attribute {
    pub(super) key: &'static str,
    pub(super) value: Value,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Span {
    pub(super) trace_id: String,
    pub(super) span_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) parent_span_id: String,
    pub(super) name: &'static str,
    #[serde(serialize_with = "as_number")]
    pub(super) kind: Kind,
    #[serde(rename = "startTimeUnixNano", serialize_with = "as_nanoseconds")]
    pub(super) start: SystemTime,
    #[serde(rename = "endTimeUnixNano", serialize_with = "as_nanoseconds")]
    pub(super) end: SystemTime,
    pub(super) attributes: Vec<Attribute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<Status>,
}

/// That something went wrong.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Status {
    code: u8,
    message: &'static str,
}

impl Status {
    pub(super) fn error(message: &'static str) -> Self {
        Self { code: 2, message }
    }
}

fn as_number<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(*kind as u8)
}

fn as_nanoseconds<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    serializer.collect_str(&since.as_nanos())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    resource_spans: [ResourceSpans; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans {
    resource: Resource,
    scope_spans: [ScopeSpans; 1],
}

#[derive(Serialize)]
struct Resource {
    attributes: [Attribute; 2],
}

#[derive(Serialize)]
struct ScopeSpans {
    scope: Scope,
    spans: Vec<Span>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

/// What a collector is sent.
pub(super) fn request(spans: Vec<Span>) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let attributes = [
        Attribute { key: "service.name", value: "reprieve".into() },
        Attribute { key: "service.version", value: version.into() },
    ];
    let scope = Scope { name: "reprieve", version };
    let request = Request {
        resource_spans: [ResourceSpans {
            resource: Resource { attributes },
            scope_spans: [ScopeSpans { scope, spans }],
        }],
    };
    let octets = serde_json::to_vec(&request);
    // Texts and numbers: nothing that has no JSON.
    debug_assert!(octets.is_ok(), "{octets:?}");
    octets.unwrap_or_default()
}
