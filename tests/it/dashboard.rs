//! The admin listener over TCP and the dashboard: correct, accessible, and protected by tokens.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::account::PASSWORD;
use crate::support::browser::{pictures, run, script};
use crate::support::certificates::{Age, Authority};
use crate::support::dialogue::Dialogue;
use crate::support::farm::FarmNode;
use crate::support::running::{BINARY, Running};
use crate::support::until;

const TOKEN: &str = "a-token-for-changes-0123456789";
const VIEWERS: &str = "a-token-for-viewers-0123456789";

/// Two virtual servers in front of two mail servers, another one that is down, and a dashboard.
struct Site {
    nodes: Vec<FarmNode>,
    _reprieve: Running,
    pop3: Vec<SocketAddr>,
    admin: SocketAddr,
    folder: tempfile::TempDir,
}

impl Site {
    /// `admin`: additional lines of that table.
    fn start(admin: &str) -> Self {
        let nodes: Vec<_> = (0..2).map(|_| FarmNode::start()).collect();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            crate::support::write_secret(&path, text);
            path
        };
        let (token, viewers) = (file("token", TOKEN), file("viewers", VIEWERS));
        let (tokens, admin) = match admin.strip_prefix("viewers ") {
            Some(rest) => (format!("read-token-file = {viewers:?}"), rest),
            None => (String::new(), admin),
        };
        let text = format!(
            r#"
policy-cache = "off"
[admin]
socket = {socket:?}
listen = ["127.0.0.1:0"]
token-file = {token:?}
{tokens}
{admin}
[pool.mail]
nodes = ["{}", "{}"]
health-check = "off"
[pool.spare]
nodes = ["127.0.0.1:1"]
health-check = {{ interval = "1s", fall = 1 }}
[[virtual-server]]
name = "pop3"
listen = ["127.0.0.1:0"]
pool = "mail"
policy = {{ settings = {{ interval = "1h", reset = "never" }} }}
[[virtual-server]]
name = "robots"
listen = ["127.0.0.1:0"]
pool = "mail"
policy = {{ settings = {{ interval = "1h", reset = "never", manner = "refuse" }} }}
"#,
            nodes[0].address(),
            nodes[1].address(),
            socket = folder.path().join("admin.sock"),
        );
        let mut reprieve = Running::with_configuration(folder.path(), &text);
        let pop3 = vec![reprieve.address(), reprieve.address()];
        let line: serde_json::Value = serde_json::from_str(&reprieve.line_with("dashboard")).unwrap();
        let url = line["url"].as_str().unwrap();
        let admin = url.split("//").nth(1).unwrap().trim_end_matches('/').parse().unwrap();
        Self { nodes, _reprieve: reprieve, pop3, admin, folder }
    }

    fn path_of_a_node(&self) -> String {
        format!("/pools/mail/nodes/{}", self.nodes[0].address())
    }

    fn ctl(&self, arguments: &[&str]) -> String {
        let socket = self.folder.path().join("admin.sock");
        let output =
            Command::new(BINARY).args(["ctl", "--socket"]).arg(socket).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The status, from the admin socket.
    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.ctl(&["status", "--json"])).unwrap()
    }
}

/// Clients that poll until it is dropped, some users more often than others.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(servers: &[SocketAddr]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = |number: usize| {
            let (stop, server) = (stop.clone(), servers[number % servers.len()]);
            std::thread::spawn(move || {
                for round in 0_usize.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    // Some of the 40 users poll much more often than others.
                    let user = format!("user{}", (round * round) % 40);
                    let mut session = Dialogue::open(server);
                    session.send(&format!("USER {user}"));
                    session.line();
                    session.send(&format!("PASS {PASSWORD}"));
                    if session.line().starts_with("+OK") {
                        session.ok("STAT");
                        session.quit();
                    }
                    // The rate of the load; nothing waits for this.
                    std::thread::sleep(Duration::from_millis(20));
                }
            })
        };
        let threads = (0..2 * servers.len()).map(thread).collect();
        Self { stop, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Sends bytes and reads the whole response; returns its status and the response.
fn http(server: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

fn ask(server: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    );
    http(server, &request)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn the_dashboard_shows_the_counters_and_is_accessible() {
    let site = Site::start("top-pollers = true");
    until("the spare mail server is found down", || {
        site.status()["pools"][1]["nodes"][0]["healthy"] == false
    });
    let load = Load::on(&site.pop3);
    let url = format!("http://{}/", site.admin);
    let mut browser = script("look.mjs", &[&url, TOKEN, pictures().to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("running node");
    let mut said = std::io::BufReader::new(browser.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert_eq!(line, "moving\n", "the reason stands above");
    drop(load);
    browser.stdin.take().unwrap().write_all(b"\n").unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(browser.wait().unwrap().success(), "the reason stands above");
    let compared: serde_json::Value = serde_json::from_str(&rest).expect("what was compared");
    for field in ["pop3 relieved", "robots relieved", "all passed", "all denied"] {
        assert!(compared[field].as_u64().unwrap() > 0, "{field} of {compared}");
    }
}

#[test]
fn a_foreign_web_page_can_read_and_change_nothing() {
    let site = Site::start("");
    let before = site.status();
    run(script("foreign.mjs", &[&site.admin.port().to_string(), &site.path_of_a_node()]));
    assert_eq!(site.status()["pools"], before["pools"]);
}

#[test]
fn a_viewer_token_can_read_everything_and_change_nothing() {
    let site = Site::start("viewers ");
    let url = format!("http://{}/", site.admin);
    run(script("token.mjs", &[&url, VIEWERS, pictures().to_str().unwrap()]));
    let admin = site.admin;
    for path in ["/status", "/history", "/recent", "/events"] {
        assert_eq!(ask(admin, "GET", path, "", "").0, 401, "{path}");
    }
    let (status, page) = ask(admin, "GET", "/", "", "");
    assert!(status == 200 && !page.contains(&site.pop3[0].to_string()), "{page}");
    assert!(!page.contains("robots"), "the page itself tells nothing");
    assert_eq!(ask(admin, "GET", "/status", &bearer(VIEWERS), "").0, 200);
    assert_eq!(ask(admin, "GET", "/store/users/alice", &bearer(VIEWERS), "").0, 403);
    let change = ask(admin, "PUT", &site.path_of_a_node(), &bearer(VIEWERS), r#"{"mode":"disabled"}"#);
    assert!(change.0 == 403 && change.1.contains("read-only"), "{}", change.1);
    assert_eq!(site.status()["pools"][0]["nodes"][0]["mode"], "enabled");
}

#[test]
fn over_tcp_changes_require_the_token() {
    let site = Site::start("");
    let (admin, node) = (site.admin, site.path_of_a_node());
    Dialogue::open(site.pop3[0]).give_password("alice", PASSWORD);
    let before = (site.status()["pools"].clone(), site.ctl(&["status"]));
    let entry = r#"{"place":0,"namespace":"pop3","entries":[]}"#;
    let routes = [
        ("PUT", node.as_str(), r#"{"mode":"disabled"}"#),
        ("POST", "/store/page", "{}"),
        ("PUT", "/store/entries", entry),
        ("DELETE", "/store/entries", entry),
        ("DELETE", "/store/users/alice", ""),
        ("GET", "/store/users/alice", ""),
        ("GET", "/store", ""),
        // New routes have the same protection: it applies to all of them.
        ("POST", "/reload", ""),
        ("POST", "/no/such/route", ""),
        ("PATCH", "/status", ""),
        ("OPTIONS", "/status", ""),
        ("TRACE", "/", ""),
    ];
    for (method, path, body) in routes {
        let (status, answer) = ask(admin, method, path, "", body);
        assert!(status == 401, "{method} {path} without a token: {answer}");
        assert!(answer.to_lowercase().contains("www-authenticate: bearer"), "{answer}");
    }
    let wrong = [
        bearer("wrong"),
        bearer(&TOKEN[..TOKEN.len() - 1]),
        bearer(""),
        format!("Authorization: Basic {TOKEN}\r\n"),
    ];
    for (method, path, body) in &routes[..6] {
        for token in &wrong {
            assert_eq!(ask(admin, method, path, token, body).0, 401, "{method} {path} with {token}");
        }
    }
    assert_eq!(site.status()["pools"], before.0);
    let known = ask(admin, "GET", "/store/users/alice", &bearer(TOKEN), "");
    assert!(known.0 == 200 && known.1.contains("pop3"), "she is remembered still: {}", known.1);
    // With the token it works.
    assert_eq!(ask(admin, "PUT", &node, &bearer(TOKEN), r#"{"mode":"drain"}"#).0, 204);
    assert_eq!(site.status()["pools"][0]["nodes"][0]["mode"], "drain");
    // The right token does not help a foreign page or host name.
    for header in
        ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Site: same-site\r\n"]
    {
        let headers = bearer(TOKEN) + header;
        assert_eq!(ask(admin, "PUT", &node, &headers, r#"{"mode":"enabled"}"#).0, 403, "{header}");
    }
    let rebound =
        format!("GET /status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n{}\r\n", bearer(TOKEN));
    let (status, answer) = http(admin, &rebound);
    assert!(status == 421 && answer.contains("admin.hosts"), "{answer}");
    assert_eq!(site.status()["pools"][0]["nodes"][0]["mode"], "drain");
}

#[test]
fn every_response_has_security_headers() {
    let site = Site::start("");
    for path in ["/", "/status", "/no/such/page"] {
        let answer = ask(site.admin, "GET", path, "", "").1.to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'",
            "frame-ancestors 'none'",
            "x-frame-options: deny",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(answer.contains(header), "{path} lacks {header}: {answer}");
        }
        let heads = answer.split("\r\n\r\n").next().unwrap();
        assert!(!heads.contains("access-control-") && !heads.contains("set-cookie"), "{heads}");
        assert!(!heads.contains("unsafe"), "{heads}");
    }
}

#[test]
fn wrong_tokens_are_delayed_without_delaying_others() {
    let site = Site::start("");
    let admin = site.admin;
    let begin = Instant::now();
    let guesses: Vec<_> = (0..8)
        .map(|guess| {
            std::thread::spawn(move || ask(admin, "GET", "/status", &bearer(&format!("guess{guess}")), "").0)
        })
        .collect();
    assert_eq!(ask(admin, "GET", "/status", &bearer(TOKEN), "").0, 200);
    assert!(guesses.iter().any(|guess| !guess.is_finished()), "the right token does not wait for wrong ones");
    for guess in guesses {
        assert_eq!(guess.join().unwrap(), 401);
    }
    assert!(
        begin.elapsed() >= Duration::from_secs(2),
        "all guesses together are slow: {:?}",
        begin.elapsed()
    );
    let recent = ask(admin, "GET", "/recent", "", "").1;
    assert!(recent.contains("wrong admin token") && !recent.contains("guess0"), "{recent}");
}

#[test]
fn slow_and_greedy_clients_of_the_admin_listener_are_cut_off() {
    let site = Site::start("");
    let admin = site.admin;
    let silent = |said: &'static [u8]| {
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(admin).unwrap();
            stream.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
            stream.write_all(said).unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
        })
    };
    // As many as allowed, and one more, which is served when they are cut off.
    let mut slow: Vec<_> =
        (0..63).map(|_| silent(b"GET /status HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")).collect();
    slow.push(silent(b"GET /access HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_eq!(ask(admin, "GET", "/status", "", "").0, 200);
    slow.into_iter().for_each(|one| one.join().unwrap());
    // Headers or a body that are too large.
    let head = format!("X-Long: {}\r\n", "x".repeat(64 << 10));
    assert!([400, 431].contains(&ask(admin, "GET", "/status", &head, "").0));
    let (status, answer) = ask(admin, "POST", "/store/page", &bearer(TOKEN), &"[".repeat(2 << 20));
    assert!([0, 400, 413].contains(&status), "{answer}");
    // The number of watchers is limited.
    let watch = || {
        let mut stream = TcpStream::connect(admin).unwrap();
        write!(stream, "GET /events HTTP/1.1\r\nHost: {admin}\r\n\r\n").unwrap();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).unwrap();
        (String::from_utf8_lossy(&begin).into_owned(), stream)
    };
    let mut watching: Vec<_> = (0..32).map(|_| watch()).collect();
    assert!(watching.iter().all(|(begin, _)| begin == "HTTP/1.1 200"), "{:?}", watching[31].0);
    assert_eq!(watch().0, "HTTP/1.1 503");
    watching.pop();
    until("a place is free again", || watch().0 == "HTTP/1.1 200");
}

#[test]
fn ctl_works_over_tcp_with_a_token_and_over_tls() {
    let authority = Authority::new();
    let files = authority.server("admin", &["127.0.0.1"], Age::Valid);
    for tls in [false, true] {
        let admin = format!("certificate = {:?}\nkey = {:?}", files.chain, files.key);
        let site = Site::start(if tls { &admin } else { "" });
        let url = format!("{}://{}", if tls { "https" } else { "http" }, site.admin);
        let ctl = |more: &[&str], command: &[&str]| {
            let mut ctl = Command::new(BINARY);
            ctl.args(["ctl", "--url", &url]).args(more).args(command).output().unwrap()
        };
        let ca = authority.file();
        let ca = ["--ca", ca.to_str().unwrap()];
        let trust: &[&str] = if tls { &ca } else { &[] };
        let output = ctl(trust, &["status"]);
        assert!(String::from_utf8_lossy(&output.stdout).contains("virtual server pop3"), "{output:?}");
        let node = site.nodes[0].address().to_string();
        let drain = ["node", "mail", &node, "drain"];
        let refused = ctl(trust, &drain);
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("requires a token"), "{refused:?}");
        let token = site.folder.path().join("token");
        let with_token = [trust, &["--token-file", token.to_str().unwrap()]].concat();
        assert!(ctl(&with_token, &drain).status.success());
        assert_eq!(site.status()["pools"][0]["nodes"][0]["mode"], "drain");
        if tls {
            let output = ctl(&[], &["status"]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code() == Some(2) && said.contains("cannot reach"), "{said}");
        }
    }
    let output = Command::new(BINARY).args(["ctl", "--url", "localhost:8110", "status"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("http://HOST:PORT"), "{output:?}");
}

#[test]
fn a_public_admin_address_requires_a_token_and_causes_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (folder.path().join("reprieve.toml"), folder.path().join("token"));
    let check = |admin: &str| {
        let text = format!(
            "policy-cache = \"off\"\n[admin]\n{admin}\n[pool.mail]\nnodes = [\"127.0.0.1:1\"]\n\
             [[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let output = Command::new(BINARY).args(["check", "--config"]).arg(&file).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let open = "listen = [\"0.0.0.0:8110\"]";
    let (code, said) = check(open);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("reprieve.toml:3") && said.contains("`admin.token-file`"), "{said}");
    let with_token = format!("{open}\ntoken-file = {token:?}");
    crate::support::write_secret(&token, "short\n");
    let (code, said) = check(&with_token);
    assert!(code == Some(2) && said.contains("reprieve.toml:4") && said.contains("16 characters"), "{said}");
    crate::support::write_secret(&token, TOKEN);
    let (code, said) = check(&with_token);
    assert!(
        code == Some(0) && said.contains("unencrypted HTTP") && said.contains("admin.certificate"),
        "{said}"
    );
    assert_eq!(check("listen = [\"127.0.0.1:8110\"]"), (Some(0), String::new()));
}

#[test]
fn the_admin_listener_passes_to_the_process_that_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (pop3, admin) = (free(), free());
    let text = format!(
        "policy-cache = \"off\"\nadmin = {{ socket = {:?}, listen = [\"{admin}\"] }}\n[pool.mail]\n\
         nodes = [\"127.0.0.1:1\"]\nhealth-check = \"off\"\n[[virtual-server]]\nname = \"pop3\"\n\
         listen = [\"{pop3}\"]\npool = \"mail\"\n",
        folder.path().join("admin.sock"),
    );
    let mut first = Running::with_configuration(folder.path(), &text);
    first.line_with("dashboard");
    let mut watching = TcpStream::connect(admin).unwrap();
    watching.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
    write!(watching, "GET /events HTTP/1.1\r\nHost: {admin}\r\n\r\n").unwrap();
    watching.read_exact(&mut [0; 12]).unwrap();
    let file = folder.path().join("reprieve.toml");
    let arguments = ["run", "--config", file.to_str().unwrap(), "--take-over", "--log-format", "json"];
    let mut second = Running::start(&arguments);
    second.line_with("dashboard");
    assert!(first.ended().success());
    // Watchers of the old process reconnect to the new one.
    let _ = watching.read_to_end(&mut Vec::new());
    let (status, answer) = ask(admin, "GET", "/status", "", "");
    assert!(status == 200 && answer.contains("\"pop3\""), "{answer}");
    drop(second);
}

#[test]
fn connections_without_a_token_do_not_lock_the_administrator_out() {
    let site = Site::start("");
    let watch = |headers: &str| {
        let mut stream = TcpStream::connect(site.admin).unwrap();
        stream.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
        write!(stream, "GET /events HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", site.admin).unwrap();
        stream
    };
    // Reads until the first event or the end.
    let watches = |stream: &mut TcpStream| {
        let mut bytes = [0; 4096];
        let mut all = Vec::new();
        loop {
            match stream.read(&mut bytes) {
                Ok(0) | Err(_) => return false,
                Ok(count) => all.extend_from_slice(&bytes[..count]),
            }
            if all.windows(7).any(|part| part == b"\ndata: ") {
                return true;
            }
        }
    };
    let mut strangers: Vec<_> = (0..80).map(|_| watch("")).collect();
    assert_eq!(ask(site.admin, "GET", "/status", "", "").0, 200, "the latest is served");
    let mut own = watch(&bearer(TOKEN));
    assert!(watches(&mut own));
    let (status, _) = ask(site.admin, "GET", "/status", &bearer(TOKEN), "");
    assert_eq!(status, 200);
    strangers.extend((0..200).map(|_| watch("")));
    assert_eq!(ask(site.admin, "GET", "/status", "", "").0, 200);
    assert!(watches(&mut own), "who has shown a token keeps the place");
    let (status, _) = ask(site.admin, "GET", "/status", &bearer(TOKEN), "");
    assert_eq!(status, 200);
    let _ = strangers[0].read_to_end(&mut Vec::new());
}
