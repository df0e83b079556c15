//! A collector that takes OTLP by HTTP: a connection for each request, of which there is one a
//! second at the most.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Uri;
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{NodeTls, TracesConfig};
use crate::net::{NodeConnector, Stream};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Octets of an answer.
const ANSWER: usize = 1 << 20;

/// A way to a collector.
#[derive(Debug)]
pub(super) struct Collector {
    /// As a resolver takes it.
    host: String,
    port: u16,
    authority: String,
    tls: Option<NodeConnector>,
}

impl Collector {
    /// Reads whom to trust.
    pub(super) fn load(config: &TracesConfig) -> Result<Self, String> {
        let uri: &Uri = &config.endpoint;
        let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else {
            return Err("its endpoint names no host".to_owned());
        };
        let is_encrypted = uri.scheme_str() == Some("https");
        let tls = is_encrypted.then(|| {
            let settings =
                NodeTls { ca: config.ca.clone(), place: config.place.clone(), ..NodeTls::default() };
            NodeConnector::load(&settings).map_err(|error| error.to_string())
        });
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: uri.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 }),
            authority: authority.to_string(),
            tls: tls.transpose()?,
        })
    }

    async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let stream = TcpStream::connect((&*self.host, self.port)).await?;
        let stream = match &self.tls {
            Some(tls) => tls.connect(&self.host, stream).await?,
            None => Stream::Plain(stream),
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        // HTTP/1 has the host beside the path.
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse()?;
        *request.uri_mut() = path;
        request.headers_mut().insert(HOST, HeaderValue::from_str(&self.authority)?);
        let answer = sender.send_request(request.map(Full::new)).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER).collect().await?.to_bytes();
        connection.abort();
        Ok(Response::from_parts(head, body))
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        timeout(PATIENCE, self.send(request)).await?
    }
}
