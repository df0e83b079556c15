//! A collector that takes OTLP by HTTP: a connection for each request, of which there is one a
//! second, or one for some hundreds of sessions.

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

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Octets of an answer.
const ANSWER: usize = 64 << 10;

/// A way to a collector.
#[derive(Debug)]
pub(super) struct Collector {
    /// As a resolver takes it.
    host: String,
    port: u16,
    /// As it stands in the URL.
    authority: String,
    path: String,
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

    /// Sends a request. The error is why it was not taken.
    pub(super) async fn send(&self, body: Vec<u8>) -> Result<(), String> {
        match timeout(PATIENCE, self.ask(body)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }

    async fn ask(&self, body: Vec<u8>) -> anyhow::Result<()> {
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
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        // What it says in detail may be anything.
        let _ = Limited::new(answer.into_body(), ANSWER).collect().await;
        connection.abort();
        anyhow::ensure!(status.is_success(), "it answers {status}");
        Ok(())
    }
}
