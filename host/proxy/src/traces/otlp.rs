//! Requests of OTLP in JSON (opentelemetry-proto, `ExportTraceServiceRequest`). JSON, because protobuf
//! would need another dependency.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// Kind of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An operation within this process.
    Internal = 1,
    /// A request from a client.
    Server = 2,
    /// A request to a server.
    Client = 3,
}

/// Value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Value {
    #[serde(rename = "stringValue")]
    Text(String),
    #[serde(rename = "boolValue")]
    Bool(bool),
    /// As text, because JSON numbers have only 53 bits.
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
    fn from(value: bool) -> Self {
        Self::Bool(value)
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

/// Status of a span: present only for errors.
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

/// The body of a request to a collector.
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
    let bytes = serde_json::to_vec(&request);
    // It has only text and numbers, which can always be serialized.
    debug_assert!(bytes.is_ok(), "{bytes:?}");
    bytes.unwrap_or_default()
}
