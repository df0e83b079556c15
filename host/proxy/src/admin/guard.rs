//! Who may ask for what. Browsers are the danger: they run pages of strangers, and carry what
//! those say to addresses that only the administrator can reach. So a request must be for a
//! name that is ours (a foreign name that leads here is DNS rebinding), must not come from a
//! page of another origin, and shows its right by a token in a header, which no browser adds by
//! itself.

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
use http_body_util::Limited;
use serde::Serialize;

use super::places::Place;
use super::tokens::{Rights, Tokens};
use crate::config::AdminConfig;

/// How long a request over TCP may take, the sending of its body included.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest body over TCP, in octets: changes are small.
const LARGEST: usize = 1 << 20;
/// What a wrong token costs. All who show one wait for each other.
const WRONG: Duration = Duration::from_millis(250);
/// What a page may do where it says nothing else: nothing, and be framed by nobody.
const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// The way that a request has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// By the Unix socket: whoever can open it may do everything.
    Socket,
    /// Over TCP.
    Tcp {
        /// From there.
        peer: SocketAddr,
        /// To this address.
        local: SocketAddr,
        /// Whether the listener can be reached from this machine only.
        is_loopback: bool,
    },
}

/// What whoever asks may, for a page to know which questions to put.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Access {
    /// What he may do now.
    rights: Rights,
    /// What a change needs.
    change: Change,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Change {
    Free,
    Token,
    Off,
}

/// Keeps the door.
#[derive(Debug)]
pub(super) struct Guard {
    tokens: Tokens,
    /// Names and addresses that are ours, beside those of this machine alone.
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    wrong: tokio::sync::Mutex<()>,
}

/// Why somebody is turned away.
struct No(StatusCode, String);

impl Guard {
    pub(super) fn new(config: &AdminConfig, tokens: Tokens) -> Self {
        Self {
            tokens,
            names: config.hosts.clone(),
            addresses: config.listen.iter().map(|address| address.ip().to_canonical()).collect(),
            wrong: tokio::sync::Mutex::new(()),
        }
    }

    /// What whoever has come this way may without a token.
    fn without_token(&self, way: Way) -> Rights {
        match way {
            Way::Socket => Rights::Own,
            Way::Tcp { is_loopback: true, .. } if !self.tokens.are_for_reading() => Rights::See,
            Way::Tcp { .. } => Rights::Nothing,
        }
    }

    /// What there is for whoever has come this way, and may so much.
    pub(super) fn access(&self, way: Way, rights: Rights) -> Access {
        Access {
            rights,
            change: match self.without_token(way) {
                Rights::Change | Rights::Own => Change::Free,
                _ if self.tokens.let_change() => Change::Token,
                _ => Change::Off,
            },
        }
    }

    /// The host that a request is for, if it is ours.
    fn host(&self, way: Way, request: &Parts) -> Result<Authority, No> {
        let odd = || No(StatusCode::BAD_REQUEST, "a request has one Host".to_owned());
        let mut hosts = request.headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(odd()) };
        let host: Authority = host.to_str().ok().and_then(|host| host.parse().ok()).ok_or_else(odd)?;
        // What stands in the first line counts as much.
        if request.uri.authority().is_some_and(|other| *other != host) || host.as_str().contains('@') {
            return Err(odd());
        }
        let name = host.host().to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let is_ours = match name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => {
                let address = address.to_canonical();
                let of_this_connection = match way {
                    Way::Tcp { local, .. } => local.ip().to_canonical() == address,
                    Way::Socket => false,
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
        Err(No(
            StatusCode::MISDIRECTED_REQUEST,
            format!(
                "{name:?} is no name of this reprieve; ask for an address of it, or add the name to `admin.hosts`"
            ),
        ))
    }

    /// Finds out whether a page of somebody else has sent a request.
    fn origin(request: &Parts, host: &Authority) -> Result<(), No> {
        let foreign =
            |why: &str| No(StatusCode::FORBIDDEN, format!("requests from other pages are refused: {why}"));
        for origin in request.headers.get_all(header::ORIGIN) {
            let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            if !authority.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host.as_str())) {
                return Err(foreign(
                    "Origin is not Host (a proxy between must pass Host on as the browser sends it)",
                ));
            }
        }
        let has = |name: &str, value: &str| {
            request.headers.get(name).is_some_and(|given| given.as_bytes() == value.as_bytes())
        };
        let site = request.headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        match site {
            None | Some(b"same-origin" | b"none") => Ok(()),
            // A link to the page may stand anywhere; nobody but its reader sees where it leads.
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

    /// What whoever asks may. Who shows a wrong token waits.
    async fn rights(&self, way: Way, headers: &HeaderMap) -> Result<Rights, No> {
        let free = self.without_token(way);
        let Way::Tcp { peer, .. } = way else { return Ok(free) };
        let Some(shown) = headers.get(header::AUTHORIZATION) else { return Ok(free) };
        let token = shown.as_bytes().split_at_checked(7);
        let token =
            token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer ")).map(|(_, token)| token);
        if let Some(rights) = token.and_then(|token| self.tokens.rights(token.trim_ascii())) {
            return Ok(rights.max(free));
        }
        let turn = self.wrong.lock().await;
        tokio::time::sleep(WRONG).await;
        drop(turn);
        tracing::warn!(target: "admin", %peer, "a wrong token");
        Err(No(StatusCode::UNAUTHORIZED, "the token is wrong".to_owned()))
    }

    async fn check(&self, way: Way, request: &Parts) -> Result<Rights, No> {
        let host = self.host(way, request)?;
        Self::origin(request, &host)?;
        let rights = self.rights(way, &request.headers).await?;
        let needed = needed(&request.method, request.uri.path());
        if rights >= needed {
            return Ok(rights);
        }
        Err(match (needed, rights) {
            (Rights::Own, Rights::Change) => {
                No(StatusCode::FORBIDDEN, "that can be done by the socket only".to_owned())
            }
            (Rights::Change, _) if !self.tokens.let_change() => No(
                StatusCode::FORBIDDEN,
                "over TCP that needs a token, and none is set: set `admin.token-file`, or use the socket"
                    .to_owned(),
            ),
            (Rights::Change, Rights::See) if request.headers.contains_key(header::AUTHORIZATION) => {
                No(StatusCode::FORBIDDEN, "this token is for reading only".to_owned())
            }
            _ => No(
                StatusCode::UNAUTHORIZED,
                "that needs a token: show the first line of `admin.token-file` as Authorization: Bearer …"
                    .to_owned(),
            ),
        })
    }
}

/// What a request needs: anything that is no mere look at the server counts as a change of it.
fn needed(method: &Method, path: &str) -> Rights {
    match (method, path) {
        (&Method::GET | &Method::HEAD, "/" | "/icon.svg" | "/access") => Rights::Nothing,
        // Whoever takes over runs on this machine.
        (_, "/hand-over") => Rights::Own,
        // They tell of users.
        (_, path) if path == "/store" || path.starts_with("/store/") => Rights::Change,
        (&Method::GET | &Method::HEAD, _) => Rights::See,
        _ => Rights::Change,
    }
}

/// Lets a request through to its route, or not.
pub(super) async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    // What came without a way has come by none that is known.
    let Some(way) = request.extensions().get::<Way>().copied() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let (mut head, body) = request.into_parts();
    let mut response = match guard.check(way, &head).await {
        Ok(rights) => {
            // A wrong token is turned away: this one is right.
            if head.headers.contains_key(header::AUTHORIZATION)
                && let Some(Some(place)) = head.extensions.get::<Option<Arc<Place>>>()
            {
                place.is_known();
            }
            head.extensions.insert(rights);
            match way {
                Way::Socket => next.run(Request::from_parts(head, body)).await,
                Way::Tcp { .. } => {
                    let request = Request::from_parts(head, Body::new(Limited::new(body, LARGEST)));
                    let answered = tokio::time::timeout(PATIENCE, next.run(request)).await;
                    answered.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
                }
            }
        }
        Err(No(status, word)) => {
            let mut response = (status, word).into_response();
            if status == StatusCode::UNAUTHORIZED {
                let bearer = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
            }
            response
        }
    };
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(NOTHING);
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

    fn guard(hosts: &[&str]) -> Guard {
        let config = AdminConfig {
            listen: vec!["0.0.0.0:8110".parse().unwrap(), "192.0.2.7:8110".parse().unwrap()],
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            ..AdminConfig::default()
        };
        Guard::new(&config, Tokens::read(&config).unwrap())
    }

    fn way() -> Way {
        let local = "10.0.0.1:8110".parse().unwrap();
        Way::Tcp { peer: "10.0.0.9:4000".parse().unwrap(), local, is_loopback: false }
    }

    fn request(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/status");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_our_own_names_and_addresses_are_answered() {
        let guard = guard(&["reprieve.example"]);
        for ours in [
            "localhost:8110",
            "127.0.0.1:8110",
            "[::1]:8110",
            "10.0.0.1:8110",
            "192.0.2.7",
            "Reprieve.Example:443",
            "reprieve.example.",
        ] {
            assert!(guard.host(way(), &request(&[("host", ours)])).is_ok(), "{ours}");
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
            assert!(guard.host(way(), &request(&[("host", foreign)])).is_err(), "{foreign}");
        }
        assert!(guard.host(way(), &request(&[])).is_err());
        assert!(guard.host(way(), &request(&[("host", "localhost"), ("host", "localhost")])).is_err());
        let absolute = Request::builder().uri("http://evil.example/").header("host", "localhost").body(());
        assert!(guard.host(way(), &absolute.unwrap().into_parts().0).is_err());
    }

    #[test]
    fn a_page_of_another_origin_is_refused_and_a_link_is_not() {
        let host: Authority = "localhost:8110".parse().unwrap();
        let is_fine = |headers: &[(&str, &str)]| Guard::origin(&request(headers), &host).is_ok();
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
        assert!(!is_fine(&navigation), "only the page itself can be linked to");
        let mut link = request(&navigation);
        link.uri = "/".parse().unwrap();
        assert!(Guard::origin(&link, &host).is_ok());
        let framed = [navigation[0], navigation[1], ("sec-fetch-dest", "iframe")];
        let mut framed = request(&framed);
        framed.uri = "/".parse().unwrap();
        assert!(Guard::origin(&framed, &host).is_err());
    }

    #[test]
    fn whatever_is_no_look_at_the_server_is_a_change() {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
            assert_eq!(needed(&method, "/status"), Rights::Change, "{method}");
            assert_eq!(needed(&method, "/"), Rights::Change, "{method}");
        }
        assert_eq!(needed(&Method::GET, "/"), Rights::Nothing);
        assert_eq!(needed(&Method::GET, "/status"), Rights::See);
        assert_eq!(needed(&Method::GET, "/store/users/alice"), Rights::Change);
        assert_eq!(needed(&Method::POST, "/hand-over"), Rights::Own);
    }
}
