//! Authorization of admin requests. The main threat is the administrator's browser: it runs
//! scripts of other sites, and these can send requests to addresses that only the administrator
//! can reach. Therefore a request must name one of our hosts (any other name that resolves to us
//! is DNS rebinding), must not come from a page of another origin, and is authorized by a token in
//! a header, which browsers never add on their own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::Limited;
use serde::Serialize;

use super::connection_slots::{Holder, Slot};
use super::tokens::{Rights, Tokens};
use crate::config::AdminConfig;

/// Longest time for a request over TCP, including its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest request body over TCP.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Delay after a wrong token. Delays are served one after another, which limits the guessing rate.
const WRONG_TOKEN_DELAY: Duration = Duration::from_millis(250);
/// Content security policy of every response that does not set its own.
const DEFAULT_CSP: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// How a request reached us.
#[derive(Clone, Copy, Debug)]
pub(super) enum Transport {
    /// Through the Unix socket; opening it requires the service user, so everything is allowed.
    Socket,
    /// Over TCP.
    Tcp {
        peer: SocketAddr,
        local: SocketAddr,
        /// Whether the listener is reachable from this machine only.
        is_loopback: bool,
    },
}

/// Answer of `GET /access`, which tells the dashboard whether to ask for a token.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RequestRights {
    /// Rights of this request.
    rights: Rights,
    /// What changes require on this connection.
    change: ChangeAccess,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum ChangeAccess {
    Free,
    Token,
    Off,
}

/// Decides whether a request is allowed.
#[derive(Debug)]
pub(super) struct Authorizer {
    tokens: Tokens,
    /// Host names and addresses that we answer to, in addition to loopback.
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    wrong_token_turn: tokio::sync::Mutex<()>,
}

/// Why a request is rejected: status and message.
struct Denied(StatusCode, String);

impl Authorizer {
    pub(super) fn new(config: &AdminConfig, tokens: Tokens) -> Self {
        Self {
            tokens,
            names: config.hosts.clone(),
            addresses: config.listen.iter().map(|address| address.ip().to_canonical()).collect(),
            wrong_token_turn: tokio::sync::Mutex::new(()),
        }
    }

    fn rights_without_token(&self, transport: Transport) -> Rights {
        match transport {
            Transport::Socket => Rights::Owner,
            Transport::Tcp { is_loopback: true, .. } if !self.tokens.require_read_token() => Rights::Read,
            Transport::Tcp { .. } => Rights::None,
        }
    }

    /// Describes the access of a request with these rights.
    pub(super) fn access(&self, transport: Transport, rights: Rights) -> RequestRights {
        RequestRights {
            rights,
            change: match self.rights_without_token(transport) {
                Rights::Change | Rights::Owner => ChangeAccess::Free,
                _ if self.tokens.allow_changes() => ChangeAccess::Token,
                _ => ChangeAccess::Off,
            },
        }
    }

    /// Returns the requested host if it is one of ours.
    fn host(&self, transport: Transport, request: &Parts) -> Result<Authority, Denied> {
        let odd = || {
            Denied(StatusCode::BAD_REQUEST, "the request must have exactly one valid Host header".to_owned())
        };
        let mut hosts = request.headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(odd()) };
        let host: Authority = host.to_str().ok().and_then(|host| host.parse().ok()).ok_or_else(odd)?;
        // An absolute request target names a host, too.
        if request.uri.authority().is_some_and(|other| *other != host) || host.as_str().contains('@') {
            return Err(odd());
        }
        let name = host.host().to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let is_ours = match name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => {
                let address = address.to_canonical();
                let of_this_connection = match transport {
                    Transport::Tcp { local, .. } => local.ip().to_canonical() == address,
                    Transport::Socket => false,
                };
                address.is_loopback()
                    || of_this_connection
                    || (!address.is_unspecified() && self.addresses.contains(&address))
                    || self.names.iter().any(|own| *own == address.to_string())
            }
            Err(_) => name == "localhost" || name == super::HOST || self.names.iter().any(|own| own == name),
        };
        if is_ours {
            return Ok(host);
        }
        Err(Denied(
            StatusCode::MISDIRECTED_REQUEST,
            format!(
                "{name:?} is not a name of this server; use one of its addresses, or add the name to `admin.hosts`"
            ),
        ))
    }

    /// Rejects requests that a page of another origin has sent.
    fn origin(request: &Parts, host: &Authority) -> Result<(), Denied> {
        let foreign =
            |why: &str| Denied(StatusCode::FORBIDDEN, format!("cross-origin requests are refused: {why}"));
        for origin in request.headers.get_all(header::ORIGIN) {
            let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            if !authority.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host.as_str())) {
                return Err(foreign(
                    "Origin does not match Host (a reverse proxy must forward Host unchanged)",
                ));
            }
        }
        let has = |name: &str, value: &str| {
            request.headers.get(name).is_some_and(|given| given.as_bytes() == value.as_bytes())
        };
        let site = request.headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        match site {
            None | Some(b"same-origin" | b"none") => Ok(()),
            // Other sites may link to the dashboard; following a link shows it to the reader only.
            Some(_)
                if request.method == Method::GET
                    && request.uri.path() == "/"
                    && has("sec-fetch-mode", "navigate")
                    && has("sec-fetch-dest", "document") =>
            {
                Ok(())
            }
            Some(_) => Err(foreign("Sec-Fetch-Site is not same-origin")),
        }
    }

    /// Rights that a valid `Authorization` header grants. As a password (Basic) only the token for
    /// signals is accepted: browsers send passwords on their own, and Dovecot's `ox` driver can send
    /// nothing else.
    fn granted(&self, authorization: &[u8]) -> Option<Rights> {
        let space = authorization.iter().position(|byte| *byte == b' ')?;
        let (scheme, value) = authorization.split_at(space);
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return self.tokens.rights(value.trim_ascii());
        }
        if !scheme.eq_ignore_ascii_case(b"basic") {
            return None;
        }
        let login = BASE64.decode(value.trim_ascii()).ok()?;
        let colon = login.iter().position(|byte| *byte == b':')?;
        self.tokens.rights(&login[colon + 1..]).filter(|rights| *rights == Rights::Signal)
    }

    /// Rights of a request: without its token, and with it. A wrong token is answered after a delay.
    async fn rights(&self, transport: Transport, headers: &HeaderMap) -> Result<[Rights; 2], Denied> {
        let free = self.rights_without_token(transport);
        let Transport::Tcp { peer, .. } = transport else { return Ok([free; 2]) };
        let Some(shown) = headers.get(header::AUTHORIZATION) else { return Ok([free; 2]) };
        if let Some(granted) = self.granted(shown.as_bytes()) {
            return Ok([free, granted]);
        }
        let turn = self.wrong_token_turn.lock().await;
        tokio::time::sleep(WRONG_TOKEN_DELAY).await;
        drop(turn);
        tracing::warn!(target: "admin", %peer, "wrong admin token");
        Err(Denied(StatusCode::UNAUTHORIZED, "the token is wrong".to_owned()))
    }

    fn no_signals(&self, has_token: bool) -> Denied {
        match (self.tokens.allow_signals(), has_token) {
            (false, _) => Denied(
                StatusCode::FORBIDDEN,
                "signals over TCP require a token, and none is configured; set `admin.new-mail-token-file`, or \
                 use the admin socket"
                    .to_owned(),
            ),
            (true, true) => {
                Denied(StatusCode::FORBIDDEN, "this token does not allow signals of new mail".to_owned())
            }
            (true, false) => Denied(
                StatusCode::UNAUTHORIZED,
                "this requires a token; send the first line of `admin.new-mail-token-file` as \
                 Authorization: Bearer …"
                    .to_owned(),
            ),
        }
    }

    async fn check(&self, transport: Transport, request: &Parts) -> Result<Rights, Denied> {
        let host = self.host(transport, request)?;
        Self::origin(request, &host)?;
        let [free, granted] = self.rights(transport, &request.headers).await?;
        let needed = required_rights(&request.method, request.uri.path());
        let rights = granted.max(free);
        if free.include(needed) || granted.include(needed) {
            return Ok(rights);
        }
        let has_token = request.headers.contains_key(header::AUTHORIZATION);
        Err(match (needed, rights) {
            (Rights::Signal, _) => self.no_signals(has_token),
            _ if has_token && granted == Rights::Signal => {
                Denied(StatusCode::FORBIDDEN, "this token allows signals of new mail only".to_owned())
            }
            (Rights::Owner, Rights::Change) => {
                Denied(StatusCode::FORBIDDEN, "this is allowed through the admin socket only".to_owned())
            }
            (Rights::Change, _) if !self.tokens.allow_changes() => Denied(
                StatusCode::FORBIDDEN,
                "changes over TCP require a token, and none is configured; set `admin.token-file`, or use the admin socket"
                    .to_owned(),
            ),
            (Rights::Change, Rights::Read) if has_token => {
                Denied(StatusCode::FORBIDDEN, "this token is read-only".to_owned())
            }
            _ => Denied(
                StatusCode::UNAUTHORIZED,
                "this requires a token; send the first line of `admin.token-file` as Authorization: Bearer …"
                    .to_owned(),
            ),
        })
    }
}

/// Whether a path is that of signals of new mail.
fn is_for_signals(path: &str) -> bool {
    path == "/new-mail" || path.starts_with("/new-mail/")
}

/// Rights that a request requires. Everything but GET and HEAD counts as a change.
fn required_rights(method: &Method, path: &str) -> Rights {
    match (method, path) {
        (&Method::GET | &Method::HEAD, "/" | "/icon.svg" | "/access") => Rights::None,
        // The process that takes over runs on this machine.
        (_, "/takeover") => Rights::Owner,
        (_, path) if is_for_signals(path) => Rights::Signal,
        // These show data of users.
        (_, path) if path == "/store" || path.starts_with("/store/") => Rights::Change,
        (&Method::GET | &Method::HEAD, _) => Rights::Read,
        _ => Rights::Change,
    }
}

/// Middleware: passes authorized requests on to their route and sets the security headers.
pub(super) async fn check(
    State(authorizer): State<Arc<Authorizer>>,
    request: Request,
    next: Next,
) -> Response {
    // Each listener adds its transport.
    let Some(transport) = request.extensions().get::<Transport>().copied() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let (mut head, body) = request.into_parts();
    let mut response = match authorizer.check(transport, &head).await {
        Ok(rights) => {
            // A wrong token would have been denied.
            if head.headers.contains_key(header::AUTHORIZATION)
                && let Some(Some(slot)) = head.extensions.get::<Option<Arc<Slot>>>()
            {
                let is_sender = is_for_signals(head.uri.path());
                slot.mark_authenticated(if is_sender { Holder::Sender } else { Holder::Administrator });
            }
            head.extensions.insert(rights);
            match transport {
                Transport::Socket => next.run(Request::from_parts(head, body)).await,
                Transport::Tcp { .. } => {
                    let request = Request::from_parts(head, Body::new(Limited::new(body, MAX_BODY_BYTES)));
                    let answered = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await;
                    answered.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
                }
            }
        }
        Err(Denied(status, word)) => {
            let mut response = (status, word).into_response();
            if status == StatusCode::UNAUTHORIZED {
                let bearer = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
            }
            response
        }
    };
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(DEFAULT_CSP);
    for (name, value) in [
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorizer(hosts: &[&str]) -> Authorizer {
        let config = AdminConfig {
            listen: vec!["0.0.0.0:8110".parse().unwrap(), "192.0.2.7:8110".parse().unwrap()],
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            ..AdminConfig::default()
        };
        Authorizer::new(&config, Tokens::read(&config).unwrap())
    }

    fn transport() -> Transport {
        let local = "10.0.0.1:8110".parse().unwrap();
        Transport::Tcp { peer: "10.0.0.9:4000".parse().unwrap(), local, is_loopback: false }
    }

    fn request(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/status");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_our_own_names_and_addresses_are_accepted() {
        let authorizer = authorizer(&["reprieve.example"]);
        for ours in [
            "localhost:8110",
            "127.0.0.1:8110",
            "[::1]:8110",
            "10.0.0.1:8110",
            "192.0.2.7",
            "Reprieve.Example:443",
            "reprieve.example.",
        ] {
            assert!(authorizer.host(transport(), &request(&[("host", ours)])).is_ok(), "{ours}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.2",
            "0.0.0.0:8110",
            "x@localhost",
            "",
            "127.0.0.1.evil.example",
        ] {
            assert!(authorizer.host(transport(), &request(&[("host", foreign)])).is_err(), "{foreign}");
        }
        assert!(authorizer.host(transport(), &request(&[])).is_err());
        assert!(
            authorizer.host(transport(), &request(&[("host", "localhost"), ("host", "localhost")])).is_err()
        );
        let absolute = Request::builder().uri("http://evil.example/").header("host", "localhost").body(());
        assert!(authorizer.host(transport(), &absolute.unwrap().into_parts().0).is_err());
    }

    #[test]
    fn cross_origin_requests_are_refused_and_links_are_not() {
        let host: Authority = "localhost:8110".parse().unwrap();
        let is_fine = |headers: &[(&str, &str)]| Authorizer::origin(&request(headers), &host).is_ok();
        assert!(is_fine(&[]));
        assert!(is_fine(&[("origin", "http://localhost:8110"), ("sec-fetch-site", "same-origin")]));
        assert!(is_fine(&[("sec-fetch-site", "none")]));
        for foreign in ["http://localhost:3000", "https://evil.example", "null", ""] {
            assert!(!is_fine(&[("origin", foreign)]), "{foreign}");
        }
        for site in ["cross-site", "same-site", "something"] {
            assert!(!is_fine(&[("sec-fetch-site", site)]), "{site}");
        }
        let navigation = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert!(!is_fine(&navigation), "links are accepted to the page only");
        let mut link = request(&navigation);
        link.uri = "/".parse().unwrap();
        assert!(Authorizer::origin(&link, &host).is_ok());
        let framed = [navigation[0], navigation[1], ("sec-fetch-dest", "iframe")];
        let mut framed = request(&framed);
        framed.uri = "/".parse().unwrap();
        assert!(Authorizer::origin(&framed, &host).is_err());
    }

    #[test]
    fn everything_but_reading_requires_the_right_to_change() {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
            assert_eq!(required_rights(&method, "/status"), Rights::Change, "{method}");
            assert_eq!(required_rights(&method, "/"), Rights::Change, "{method}");
        }
        assert_eq!(required_rights(&Method::GET, "/"), Rights::None);
        assert_eq!(required_rights(&Method::GET, "/status"), Rights::Read);
        assert_eq!(required_rights(&Method::GET, "/store/users/alice"), Rights::Change);
        assert_eq!(required_rights(&Method::POST, "/takeover"), Rights::Owner);
        assert_eq!(required_rights(&Method::POST, "/new-mail"), Rights::Signal);
        assert_eq!(required_rights(&Method::PUT, "/new-mail/mail"), Rights::Signal);
        assert_eq!(required_rights(&Method::POST, "/new-mailbox"), Rights::Change);
    }
}
