//! OpenTelemetry traces as a collector receives them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::support::account::PASSWORD;
use crate::support::certificates::{Age, Authority, Files};
use crate::support::dialogue::Dialogue;
use crate::support::mail_server;
use crate::support::proxy::Setup;
use crate::support::running::Running;
use crate::support::until;

/// Everything that has arrived.
#[derive(Default)]
struct Arrived {
    spans: Vec<Span>,
    services: Vec<Value>,
    text: String,
}

/// A span, parsed strictly according to OTLP's JSON encoding.
#[derive(Clone, Debug)]
struct Span {
    trace_id: String,
    span_id: String,
    parent: Option<String>,
    name: String,
    start: u64,
    end: u64,
    attributes: BTreeMap<String, String>,
    failed: bool,
}

impl Span {
    #[track_caller]
    fn read(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_else(|| panic!("{key}: {value}")).to_owned();
        let id = |text: String, bytes: usize| {
            assert!(text.len() == 2 * bytes && text.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
            text
        };
        assert!((1..=3).contains(&value["kind"].as_u64().unwrap()), "{value}");
        let attributes = value["attributes"].as_array().unwrap().iter().map(|attribute| {
            let content = attribute["value"].as_object().unwrap();
            assert_eq!(content.len(), 1, "{attribute}");
            let (kind, content) = content.iter().next().unwrap();
            let content = match &**kind {
                "boolValue" => content.as_bool().unwrap().to_string(),
                "intValue" => content.as_str().unwrap().parse::<i64>().unwrap().to_string(),
                "stringValue" => content.as_str().unwrap().to_owned(),
                other => panic!("{other}"),
            };
            (attribute["key"].as_str().unwrap().to_owned(), content)
        });
        Self {
            trace_id: id(text("traceId"), 16),
            span_id: id(text("spanId"), 8),
            parent: value.get("parentSpanId").map(|parent| id(parent.as_str().unwrap().to_owned(), 8)),
            name: text("name"),
            start: text("startTimeUnixNano").parse().unwrap(),
            end: text("endTimeUnixNano").parse().unwrap(),
            attributes: attributes.collect(),
            failed: value["status"]["code"] == 2,
        }
    }

    fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.get(key).map(String::as_str)
    }
}

/// A collector of OTLP over HTTP, which runs until the test process exits.
struct Collector {
    address: SocketAddr,
    arrived: Arc<Mutex<Arrived>>,
}

impl Collector {
    fn start() -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").unwrap(), |stream| Box::new(stream))
    }

    /// A collector with HTTPS.
    fn encrypted(files: &Files) -> Self {
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let chain = CertificateDer::pem_file_iter(&files.chain).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
        Self::at(TcpListener::bind("127.0.0.1:0").unwrap(), move |stream| {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            Box::new(rustls::StreamOwned::new(connection, stream))
        })
    }

    fn at(listener: TcpListener, wrap: impl Fn(TcpStream) -> Box<dyn Channel> + Send + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let arrived = Arc::<Mutex<Arrived>>::default();
        std::thread::spawn({
            let arrived = arrived.clone();
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    // Failed connections and handshakes are ignored.
                    let _ = take(wrap(stream), &arrived);
                }
            }
        });
        Self { address, arrived }
    }

    fn section(&self, more: &str) -> String {
        format!("traces = {{ endpoint = \"http://{}\"{more} }}", self.address)
    }

    /// Waits for this many spans with this name; returns all spans.
    #[track_caller]
    fn spans(&self, name: &str, count: usize) -> Vec<Span> {
        until("the spans arrive", || {
            let arrived = self.arrived.lock().unwrap();
            arrived.spans.iter().filter(|span| span.name == name).count() >= count
        });
        self.arrived.lock().unwrap().spans.clone()
    }
}

trait Channel: Read + Write + Send {}
impl<T: Read + Write + Send> Channel for T {}

/// Reads one request.
fn take(stream: Box<dyn Channel>, arrived: &Mutex<Arrived>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    assert_eq!(line, "POST /v1/traces HTTP/1.1\r\n");
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    assert_eq!(headers["content-type"], "application/json");
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body)?;
    let text = String::from_utf8(body).expect("text");
    let request: Value = serde_json::from_str(&text).expect("JSON");
    let mut arrived = arrived.lock().unwrap();
    arrived.text += &text;
    for resource in request["resourceSpans"].as_array().expect("resources") {
        let attributes = resource["resource"]["attributes"].as_array().expect("attributes");
        let name = attributes.iter().find(|attribute| attribute["key"] == "service.name").expect("its name");
        arrived.services.push(name["value"]["stringValue"].clone());
        for scope in resource["scopeSpans"].as_array().expect("scopes") {
            arrived.spans.extend(scope["spans"].as_array().expect("spans").iter().map(Span::read));
        }
    }
    drop(arrived);
    stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    stream.get_mut().flush()
}

/// The spans of a session by name; its root span first.
fn of_session<'a>(spans: &'a [Span], root: &Span) -> BTreeMap<&'a str, &'a Span> {
    let same = spans.iter().filter(|span| span.trace_id == root.trace_id);
    same.map(|span| (&*span.name, span)).collect()
}

#[test]
fn a_session_is_a_trace_with_a_span_per_phase() {
    let (mail, collector) = (mail_server(2), Collector::start());
    let log = tempfile::tempdir().unwrap();
    let path = log.path().join("decisions.jsonl");
    let top = format!("decision-log = {{ path = {path:?} }}\n{}", collector.section(""));
    let reprieve = Setup { top: &top, ..Setup::default() }.in_front_of(&[mail.address()]);
    Dialogue::log_in(&reprieve.account("alice")).quit();
    reprieve.clock.advance(Duration::from_secs(60));
    collector.spans("session", 1);
    let mut posed = Dialogue::log_in(&reprieve.account("alice"));
    posed.lines("RETR 1");
    posed.quit();
    let spans = collector.spans("session", 2);
    let roots: Vec<_> = spans.iter().filter(|span| span.name == "session").collect();
    let passed = of_session(&spans, roots[0]);
    let names: Vec<_> = passed.keys().copied().collect();
    assert_eq!(names, ["connect", "decide", "login", "relay", "session"]);
    let upgraded = of_session(&spans, roots[1]);
    let names: Vec<_> = upgraded.keys().copied().collect();
    assert_eq!(names, ["decide", "login", "pose", "relay", "session", "upgrade"]);
    for trace in [&passed, &upgraded] {
        let root = trace["session"];
        assert!(root.parent.is_none());
        assert!(trace.values().all(|span| !span.failed));
        for (name, span) in trace {
            assert!(span.start <= span.end, "{span:?}");
            let parent = match *name {
                "session" => continue,
                "decide" | "connect" => trace["login"],
                _ => root,
            };
            assert_eq!(span.parent.as_ref(), Some(&parent.span_id), "{name}");
            assert!(parent.start <= span.start, "{name}");
            assert!(span.end <= parent.end, "{name}");
        }
    }
    // The phases do not overlap.
    for (earlier, later) in [("login", "pose"), ("pose", "upgrade"), ("upgrade", "relay")] {
        assert!(upgraded[earlier].end <= upgraded[later].start, "{earlier}");
    }
    // The same terms and the same session id as in the decision log.
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (line, trace) in lines.iter().zip([&passed, &upgraded]) {
        let login = &line["logins"][0];
        for (span, key, expected) in [
            ("session", "reprieve.id", &line["id"]),
            ("session", "reprieve.virtual_server", &line["virtual_server"]),
            ("session", "reprieve.end", &line["end"]),
            ("login", "reprieve.mechanism", &login["mechanism"]),
            ("login", "reprieve.standing", &login["standing"]),
            ("login", "reprieve.disposition", &login["disposition"]),
            ("decide", "reprieve.verdict", &login["verdict"]),
            ("decide", "reprieve.policy.sha256", &login["policy"]["sha256"]),
        ] {
            assert_eq!(trace[span].attribute(key), expected.as_str(), "{key}");
        }
        let relief = trace["session"].attribute("reprieve.relief").unwrap();
        assert_eq!(relief, line["relief"].to_string());
    }
    let node = mail.address().to_string();
    for (span, key, expected) in [
        (passed["connect"], "reprieve.node", &*node),
        (passed["connect"], "reprieve.outcome", "authenticated"),
        (upgraded["upgrade"], "reprieve.upgrade_command", "RETR"),
        (upgraded["upgrade"], "reprieve.upgrade_node", &*node),
        (upgraded["decide"], "reprieve.reason", "too-soon"),
    ] {
        assert_eq!(span.attribute(key), Some(expected), "{key}");
    }
    let arrived = collector.arrived.lock().unwrap();
    assert!(arrived.services.iter().all(|name| name == "reprieve"), "{:?}", arrived.services);
    for hidden in ["alice", PASSWORD] {
        assert!(!arrived.text.contains(hidden), "{hidden} is in a trace");
    }
}

#[test]
fn only_sampled_spans_are_sent_and_pending_ones_are_flushed_at_shutdown() {
    let (mail, collector, silent) = (mail_server(0), Collector::start(), Collector::start());
    for (collector, more) in [(&collector, ""), (&silent, ", sample = 0.0")] {
        let top = collector.section(more);
        let reprieve = Setup { top: &top, ..Setup::default() }.in_front_of(&[mail.address()]);
        for _ in 0..20 {
            Dialogue::open(reprieve.address()).quit();
        }
        until("they are over", || reprieve.server.counters().sessions == 20);
        reprieve.server.shutdown(Duration::ZERO);
    }
    assert_eq!(collector.arrived.lock().unwrap().spans.len(), 20);
    assert_eq!(silent.arrived.lock().unwrap().spans.len(), 0);
}

#[test]
fn the_collectors_certificate_is_verified() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let collector = Collector::encrypted(&authority.server("collector", &["localhost"], Age::Valid));
    let section = |host: &str| {
        format!(
            "traces = {{ endpoint = \"https://{host}:{}\", ca = {:?} }}",
            collector.address.port(),
            authority.file()
        )
    };
    // The certificate is not valid for the address.
    for (host, count) in [("127.0.0.1", 0), ("localhost", 1)] {
        let top = section(host);
        let reprieve = Setup { top: &top, ..Setup::default() }.in_front_of(&[mail.address()]);
        Dialogue::open(reprieve.address()).quit();
        until("it is over", || reprieve.server.counters().sessions == 1);
        reprieve.server.shutdown(Duration::ZERO);
        assert_eq!(collector.arrived.lock().unwrap().spans.len(), count, "{host}");
    }
}

#[test]
fn an_unreachable_collector_is_reported_once_and_delays_nobody() {
    let mail = mail_server(1);
    // A port without a listener, at first.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "policy-cache = \"off\"\ntraces = {{ endpoint = \"http://{address}\" }}\n[pool.mail]\nnodes = [\"{}\"]\n\
         health-check = \"off\"\n[[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\n",
        mail.address()
    );
    let mut reprieve = Running::with_configuration(folder.path(), &text);
    let proxy = reprieve.address();
    let log_in = || {
        let mut session = Dialogue::open(proxy);
        session.give_password("alice", PASSWORD);
        session.quit();
    };
    log_in();
    let told = reprieve.line_with("the collector does not accept traces");
    assert!(told.contains("\"target\":\"traces\"") && told.contains(&address.to_string()), "{told}");
    log_in();
    let collector = Collector::at(TcpListener::bind(address).unwrap(), |stream| Box::new(stream));
    // Each of these causes an attempt.
    let mut before_again = String::new();
    while !before_again.contains("accepts traces again") {
        log_in();
        before_again = reprieve.line_with("traces");
        assert!(!before_again.contains("does not take"), "told a second time");
    }
    collector.spans("session", 1);
    reprieve.signal("-TERM");
    assert!(reprieve.ended().success());
}
