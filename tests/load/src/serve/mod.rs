//! `reprieve-load serve`: the mail server behind the proxy that is measured.

mod connection;
mod counts;
mod dialogue;

use std::io::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use crate::cli::{Interrupt, ServeArgs};
use crate::mailbox::Mailbox;
use crate::process;
use dialogue::Shared;

/// Maximum number of connections that wait to be accepted.
const BACKLOG: u32 = 4096;
/// After a failed accept: if file descriptors have run out, one will be closed soon.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(10);

/// Serves until SIGTERM or SIGINT.
pub(crate) fn serve(arguments: &ServeArgs) -> anyhow::Result<()> {
    process::raise_open_files();
    let tls = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(certificate), Some(key)) => Some(tls_acceptor(certificate, key)?),
        _ => None,
    };
    let shared = Rc::new(Shared::new(Mailbox::new(arguments.messages, arguments.size)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = listen(arguments)?;
        let mut interrupt = Interrupt::new().context("cannot watch for signals")?;
        let mut output = std::io::stdout();
        writeln!(output, "listening on {}", listener.local_addr()?).and_then(|()| output.flush())?;
        tokio::select! {
            () = accept(listener, tls, Rc::clone(&shared)) => {}
            () = interrupt.next() => {}
        }
        writeln!(output, "{}", shared.counts)?;
        Ok(())
    })
}

fn listen(arguments: &ServeArgs) -> anyhow::Result<TcpListener> {
    let address = arguments.listen;
    let listening = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listening().with_context(|| format!("cannot listen on {address}"))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Rc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (tls, shared) = (tls.clone(), Rc::clone(&shared));
                tokio::task::spawn_local(async move {
                    // The other side of the connection reports errors.
                    let _ = serve_client(stream, tls, &shared).await;
                });
            }
            Err(error) => {
                eprintln!("reprieve-load: cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

async fn serve_client(stream: TcpStream, tls: Option<TlsAcceptor>, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        None => connection::serve(stream, shared).await,
        Some(tls) => connection::serve(tls.accept(stream).await?, shared).await,
    }
}

fn tls_acceptor(certificate: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let name = |path: &Path| format!("cannot read {}", path.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| name(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| name(key))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the certificate and its key cannot be used")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
