//! Requests to a collector of OTLP over HTTP. Each request has its own connection: there is at most
//! one per second, or one per few hundred sessions.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{NodeTls, TracesConfig};
use crate::net::{NodeConnector, Stream};

/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum size of a response.
const MAX_RESPONSE_BYTES: usize = 64 << 10;

/// The address of a collector and the TLS settings for it.
#[derive(Debug)]
pub(super) struct Collector {
    /// Host name or address for the resolver.
    host: String,
    port: u16,
    /// Host and port as in the URL.
    authority: String,
    path: String,
    tls: Option<NodeConnector>,
}

impl Collector {
    /// Reads the certificates to trust.
    pub(super) fn load(config: &TracesConfig) -> Result<Self, String> {
        let uri: &Uri = &config.endpoint;
        let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else {
            return Err("`endpoint` has no host".to_owned());
        };
        let is_encrypted = uri.scheme_str() == Some("https");
        let tls = is_encrypted.then(|| {
            let settings =
                NodeTls { ca: config.ca.clone(), location: config.location.clone(), ..NodeTls::default() };
            NodeConnector::load(&settings).map_err(|error| error.to_string())
        });
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: uri.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 }),
            authority: authority.to_string(),
            path: uri.path().to_owned(),
            tls: tls.transpose()?,
        })
    }

    /// Sends a request. The error says why the collector did not accept it.
    pub(super) async fn send(&self, body: Vec<u8>) -> Result<(), String> {
        match timeout(REQUEST_TIMEOUT, self.post(body)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_) => Err(format!("no response within {} s", REQUEST_TIMEOUT.as_secs())),
        }
    }

    async fn post(&self, body: Vec<u8>) -> anyhow::Result<()> {
        let stream = TcpStream::connect((&*self.host, self.port)).await?;
        let stream = match &self.tls {
            Some(tls) => tls.connect(&self.host, stream).await?,
            None => Stream::Plain(stream),
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::post(&*self.path)
            .header(HOST, &*self.authority)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        // Read and ignore the body, which may contain anything.
        let _ = Limited::new(response.into_body(), MAX_RESPONSE_BYTES).collect().await;
        connection.abort();
        anyhow::ensure!(status.is_success(), "it responded with {status}");
        Ok(())
    }
}
