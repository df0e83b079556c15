//! Changes at run time: swapped policies, shadow policies and reloads. Sessions continue, and errors
//! change nothing.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::account::PASSWORD;
use crate::support::certificates::{Age, Authority};
use crate::support::dialogue::Dialogue;
use crate::support::farm::FarmNode;
use crate::support::guests;
use crate::support::mail_server;
use crate::support::proxy::Proxy;
use crate::support::running::{BINARY, Running};
use crate::support::until;
use reprieve::config::Config;
use reprieve::server::{PolicyChange, ShadowState, VirtualServerState};
use reprieve_policy_host::Difference;

/// A policy that hears how sessions end.
const EVERY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden-0.2/every/every.wasm");

fn configuration(node: SocketAddr, server: &str, policy: &str) -> String {
    format!(
        "threads = 2\npolicy-cache = \"off\"\n[[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\n\
         pool = \"mail\"\nbanner = \"first\"\n{server}\n[virtual-server.policy]\n{policy}\n\
         [pool.mail]\nnodes = [\"{node}\"]\nhealth-check = \"off\"\n"
    )
}

fn change(component: &str, settings: &[(&str, &str)]) -> PolicyChange {
    let settings = settings.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    PolicyChange { component: component.to_owned(), settings: Some(settings), sha256: None }
}

fn path(component: &Path) -> &str {
    component.to_str().expect("a path in UTF-8")
}

impl Proxy {
    fn state(&self) -> VirtualServerState {
        self.server.view().virtual_servers().next().expect("a virtual server")
    }

    fn log_in(&self) -> Dialogue {
        let mut session = Dialogue::open(self.address());
        session.give_password("alice", PASSWORD);
        session
    }

    /// Polls; whether the poll was answered without the mail server.
    fn is_relieved(&self) -> bool {
        let before = self.server.counters();
        let mut session = self.log_in();
        session.lines("UIDL");
        session.quit();
        until("the poll is counted", || self.server.counters().sessions > before.sessions);
        self.server.counters().relieved > before.relieved
    }

    fn reload(&self, text: &str) -> Result<reprieve::server::ReloadReport, String> {
        let config = Config::parse(text, "new.toml").map_err(|error| error.to_string())?;
        self.server.control().reload(config).map_err(|error| error.to_string())
    }
}

#[test]
fn a_swapped_policy_judges_the_next_login_and_sessions_continue() {
    let mail = mail_server(1);
    let front = Proxy::start(&configuration(mail.address(), "", "settings = { interval = \"1h\" }"));
    assert!(!front.is_relieved());
    assert!(front.is_relieved());
    let mut posed = front.log_in();
    assert!(posed.ok("STAT").starts_with("1 "));
    let mut greeted = Dialogue::open(front.address());
    let mirror = guests::mirror();
    front.server.control().swap("pop3", &change(path(mirror), &[])).unwrap();
    let state = front.state();
    assert_eq!((state.policy.component.as_str(), state.policy.version), (path(mirror), 2));
    // A client that connected earlier logs in now, and passes.
    let logins = mail.stats().logins;
    greeted.give_password("alice", PASSWORD);
    assert_eq!(mail.stats().logins, logins + 1);
    greeted.quit();
    // The posed session stays posed.
    assert!(posed.ok("STAT").starts_with("1 "));
    posed.quit();
    assert_eq!(mail.stats().logins, logins + 1);
    front.server.control().swap_back("pop3").unwrap();
    assert_eq!(front.state().policy.component, "interval");
    assert_eq!(front.state().policy.version, 3);
    assert!(front.is_relieved(), "its store is what it was");
}

#[test]
fn a_policy_that_cannot_run_is_refused_and_nothing_changes() {
    let mail = mail_server(1);
    let policy = "settings = { interval = \"1h\" }\nlimits = { start = \"100ms\", memory = \"8MiB\" }";
    let front = Proxy::start(&configuration(mail.address(), "", policy));
    assert!(!front.is_relieved());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let broken = file("broken.wasm", b"\0asm but not quite");
    let module = file("module.wasm", b"\0asm\x01\0\0\0");
    let missing = folder.path().join("missing.wasm").to_str().unwrap().to_owned();
    let hostile = path(guests::hostile());
    for (component, settings, expected) in [
        (&*broken, &[][..], "broken.wasm"),
        (&module, &[], "module"),
        (&missing, &[], "cannot read the component"),
        ("interval", &[("intervall", "1h")], "refuses its settings"),
        ("no-such-policy", &[], "there is no built-in policy"),
        (hostile, &[("at", "configure"), ("how", "refuse-settings")], "refused by the test"),
        (hostile, &[("at", "configure"), ("how", "trap")], "could not be started"),
        (hostile, &[("at", "configure"), ("how", "spin")], "limits.start"),
        (hostile, &[("at", "configure"), ("how", "memory")], "limits.memory"),
    ] {
        let error =
            front.server.control().swap("pop3", &change(component, settings)).unwrap_err().to_string();
        assert!(error.contains(expected) && error.ends_with("nothing was changed"), "{component}: {error}");
        let error = front.server.control().shadow("pop3", Some(&change(component, settings))).unwrap_err();
        assert!(error.to_string().contains(expected), "{component}: {error}");
    }
    let pinned = PolicyChange { sha256: Some("0".repeat(64)), ..change("interval", &[]) };
    let error = front.server.control().swap("pop3", &pinned).unwrap_err().to_string();
    assert!(error.contains("its SHA-256 is"), "{error}");
    let error = front.server.control().swap("pop4", &change("interval", &[])).unwrap_err().to_string();
    assert_eq!(error, "there is no virtual server \"pop4\"; the virtual servers are pop3");
    let error = front.server.control().swap_back("pop3").unwrap_err().to_string();
    assert!(error.contains("has not been swapped since the start"), "{error}");
    let state = front.state();
    assert_eq!((state.policy.version, state.policy.metrics.all_failures()), (1, 0));
    assert!(state.shadow.is_none());
    assert!(front.is_relieved());
}

fn shadow_of(front: &Proxy) -> ShadowState {
    front.state().shadow.expect("a shadow")
}

#[track_caller]
fn judged(front: &Proxy, count: u64) -> ShadowState {
    until("the shadow has judged", || shadow_of(front).metrics.judged() == count);
    shadow_of(front)
}

#[test]
fn a_shadow_policy_reports_differences_and_affects_nobody() {
    let mail = mail_server(1);
    let shadow = "shadow = { settings = { interval = \"10m\", manner = \"busy\" } }";
    let front = Proxy::start(&configuration(mail.address(), shadow, "settings = { interval = \"1h\" }"));
    let poll = |expected: bool| assert_eq!(front.is_relieved(), expected);
    poll(false);
    assert_eq!(judged(&front, 1).metrics.would_pass, 1);
    poll(true);
    assert_eq!(judged(&front, 2).metrics.differed(Difference::Manner), 1);
    front.clock.advance(Duration::from_secs(1200));
    poll(true);
    assert_eq!(judged(&front, 3).metrics.differed(Difference::WouldPass), 1);
    // It has a separate store, in which this user has just passed.
    front.clock.advance(Duration::from_secs(60));
    poll(true);
    let metrics = judged(&front, 4).metrics;
    assert_eq!((metrics.differed(Difference::WouldPass), metrics.differed(Difference::Manner)), (1, 2));
    front.server.control().shadow("pop3", None).unwrap();
    assert!(front.state().shadow.is_none());
    poll(true);
    // A shadow policy that denies a login gets no outcome for it.
    front.server.control().swap("pop3", &change("interval", &[("interval", "0s")])).unwrap();
    front.server.control().shadow("pop3", Some(&change("interval", &[("interval", "10m")]))).unwrap();
    poll(false);
    assert_eq!(judged(&front, 1).metrics.would_deny, 1, "it has the shadow's store from before");
    front.clock.advance(Duration::from_secs(540));
    poll(false);
    let metrics = judged(&front, 2).metrics;
    assert_eq!(
        (metrics.would_pass, metrics.would_deny),
        (1, 1),
        "ten minutes after the login that it would have passed"
    );
    assert!(metrics.cpu > Duration::ZERO);
}

/// Of the sessions that it, too, would have sent to the mail server.
#[test]
fn a_shadow_policy_hears_how_sessions_end() {
    let mail = mail_server(1);
    let front = Proxy::start(&configuration(mail.address(), "", "settings = { interval = \"0s\" }"));
    let shadow = |settings: &[_]| {
        front.server.control().shadow("pop3", Some(&change(EVERY, settings))).unwrap();
    };
    let calls = || {
        let metrics = shadow_of(&front).policy.metrics;
        (metrics.decides, metrics.observes, metrics.ends)
    };
    shadow(&[]);
    assert!(!front.is_relieved());
    until("the shadow has heard the end", || calls() == (1, 1, 1));
    shadow(&[("manner", "busy")]);
    assert!(!front.is_relieved());
    until("the shadow has judged", || calls().0 == 1);
    // What comes later has been heard later.
    shadow(&[]);
    assert!(!front.is_relieved());
    until("the shadow has heard the end", || calls() == (1, 1, 1));
    assert_eq!(shadow_of(&front).policy.metrics.all_failures(), 0);
}

#[test]
fn a_shadow_policy_that_fails_or_loops_affects_nobody() {
    let mail = mail_server(1);
    let front = Proxy::start(&configuration(mail.address(), "", "settings = { interval = \"1h\" }"));
    assert!(!front.is_relieved());
    for how in ["trap", "spin", "sleep", "memory"] {
        let hostile = change(path(guests::hostile()), &[("at", "decide"), ("how", how)]);
        front.server.control().shadow("pop3", Some(&hostile)).unwrap();
        for count in 1..=3 {
            assert!(front.is_relieved(), "{how}");
            let metrics = judged(&front, count).metrics;
            assert_eq!((metrics.failed, metrics.differed(Difference::Failure)), (count, count), "{how}");
        }
    }
    assert_eq!(front.server.counters().policy_failures, 0);
    assert_eq!(front.state().policy.metrics.all_failures(), 0);
}

#[test]
fn a_reload_is_complete_and_sessions_continue() {
    let (mail, other) = (mail_server(1), mail_server(2));
    let policy = "settings = { interval = \"1h\" }";
    let text = configuration(mail.address(), "", policy);
    let front = Proxy::start(&text);
    let address = front.address();
    assert!(!front.is_relieved());
    let mut before = front.log_in();
    assert_eq!(front.reload(&text), Ok(reprieve::server::ReloadReport::default()), "nothing has changed");
    assert_eq!(front.state().policy.version, 1);

    // A different banner, different nodes, and a second virtual server.
    let more = format!(
        "{}\n[[virtual-server]]\nname = \"second\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\nbanner = \"two\"\n",
        text.replace("\"first\"", "\"other\"")
            .replace(&mail.address().to_string(), &other.address().to_string())
    );
    let done = front.reload(&more).unwrap();
    assert_eq!(
        done.changed,
        ["pool mail changed", "virtual server pop3 changed", "virtual server second added"]
    );
    assert_eq!((done.needs_restart.len(), done.warnings.len()), (0, 0), "{done:?}");
    assert_eq!(front.address(), address);
    let mut session = Dialogue::open(address);
    session.give_password("alice", PASSWORD);
    assert!(session.ok("STAT").starts_with("1 "), "the maildrop as last seen, at the first mail server");
    session.quit();
    front.clock.advance(Duration::from_secs(3600));
    let mut session = front.log_in();
    assert!(session.ok("STAT").starts_with("2 "), "at the other mail server");
    session.quit();
    assert!(before.ok("STAT").starts_with("1 "));
    let second = front.server.address("second");
    let mut there = Dialogue::open(second);
    there.give_password("alice", PASSWORD);
    assert!(there.ok("STAT").starts_with("2 "));

    // The second one is removed; its sessions stay until they end.
    let counted = front.server.counters().passed;
    let done = front.reload(&text).unwrap();
    assert!(
        done.changed.contains(&"virtual server second removed; its sessions continue".to_owned()),
        "{done:?}"
    );
    until("the listener is closed", || TcpStream::connect(second).is_err());
    assert!(there.ok("STAT").starts_with("2 "));
    there.quit();
    assert_eq!(front.server.counters().passed, counted, "what has happened has happened");
    before.quit();
}

#[test]
fn an_invalid_configuration_changes_nothing() {
    let mail = mail_server(1);
    let authority = Authority::new();
    let good = authority.server("good", &["localhost"], Age::Valid);
    let tls = |chain: &Path, key: &Path| format!("tls = {{ certificate = {chain:?}, key = {key:?} }}");
    let policy = "settings = { interval = \"1h\" }";
    let text = configuration(mail.address(), "cleartext-login = \"allow\"", policy);
    let front = Proxy::start(&text.replace("cleartext-login = \"allow\"", ""));
    assert!(!front.is_relieved());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let second = |listen: SocketAddr| {
        format!("{text}\n[[virtual-server]]\nname = \"second\"\nlisten = [\"{listen}\"]\npool = \"mail\"\n")
    };
    let with_tls = |files: &str| text.replace("cleartext-login", &format!("{files}\ncleartext-login"));
    let missing = Path::new("/nonexistent/chain.pem");
    for (wrong, expected) in [
        (text.replace("interval =", "intervall ="), "refuses its settings"),
        (text.replace("pool = \"mail\"", "pool = \"male\""), "which is not defined"),
        (text.replace("banner", "baner"), "did you mean `banner`"),
        (second(taken.local_addr().unwrap()), "another program is listening there"),
        (with_tls(&tls(missing, &good.key)), "cannot read"),
        (
            format!(
                "{}\ntls = \"implicit\"\nmaster = {{ user = \"root\", password-file = \"/nonexistent\" }}\n",
                text
            ),
            "master user's password",
        ),
        (
            second("127.0.0.1:0".parse().unwrap()).replace(
                "[virtual-server.policy]",
                "shadow = { component = \"x.wasm\" }\n[virtual-server.policy]",
            ),
            "cannot read the component",
        ),
    ] {
        let error = front.reload(&wrong).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
        assert_eq!(front.server.addresses().len(), 1);
        assert_eq!(front.state().policy.version, 1);
        assert!(front.is_relieved(), "{expected}");
    }
    // The corrected configuration is applied.
    let done = front.reload(&with_tls(&tls(&good.chain, &good.key))).unwrap();
    assert_eq!(done.changed, ["virtual server pop3 changed"]);
    let mut session = Dialogue::open(front.address());
    session.start_tls(&authority.trusted(None), "localhost");
    session.quit();
}

#[test]
fn settings_that_need_a_restart_are_named_and_unchanged() {
    let mail = mail_server(1);
    let text = configuration(mail.address(), "", "settings = { interval = \"1h\" }");
    let front = Proxy::start(&text);
    let wanted = text
        .replace("threads = 2", "threads = 3\nmax-connections = 7\nmaildrop = { memory = \"8MiB\" }")
        .replace("interval = \"1h\" }", "interval = \"1h\" }\nstore-quota = \"1MiB\"");
    let done = front.reload(&wanted).unwrap();
    let expected = ["`threads`", "`maildrop.memory`", "`virtual-server.policy.store-quota` of pop3"];
    assert_eq!(done.needs_restart, expected);
    // Everything else is applied.
    let _open: Vec<_> = (0..7).map(|_| Dialogue::open(front.address())).collect();
    let mut refused = Vec::new();
    std::io::Read::read_to_end(&mut TcpStream::connect(front.address()).unwrap(), &mut refused).unwrap();
    assert!(refused.starts_with(b"-ERR"), "{}", String::from_utf8_lossy(&refused));
    assert_eq!(front.reload(&wanted).unwrap().needs_restart, expected, "it is named as long as it is so");
}

#[test]
fn nodes_keep_their_sessions_and_modes_over_a_reload() {
    let nodes: Vec<_> = (0..2).map(|_| FarmNode::start()).collect();
    let list = |limit: u32| {
        let node =
            |node: &FarmNode| format!("{{ address = \"{}\", max-sessions = {limit} }}", node.address());
        format!("nodes = [{}, {}]", node(&nodes[0]), node(&nodes[1]))
    };
    let text = configuration(nodes[0].address(), "", "settings = { interval = \"0s\" }");
    let one = format!("nodes = [\"{}\"]", nodes[0].address());
    let front = Proxy::start(&text.replace(&one, &list(5)));
    let pool = || front.server.pool("mail").expect("a pool");
    pool().set_mode(&nodes[1].address().to_string(), reprieve::config::NodeMode::Drain).unwrap();
    let mut first = front.log_in();
    front.reload(&text.replace(&one, &list(1))).unwrap();
    let states: Vec<_> = pool().node_states().collect();
    assert_eq!(states[0].sessions, 1, "it has that session still");
    assert_eq!(states[1].mode, reprieve::config::NodeMode::Drain, "as the administrator said");
    // The only session is in use: the next one waits.
    let address = front.address();
    let waiting = std::thread::spawn(move || {
        let mut session = Dialogue::open(address);
        session.give_password("alice", PASSWORD);
        session.quit();
    });
    until("the login waits", || pool().queued() == 1);
    first.ok("NOOP");
    first.quit();
    waiting.join().unwrap();
    assert_eq!((nodes[0].logins(), nodes[1].logins()), (2, 0));
}

#[test]
fn a_login_that_waits_gets_the_slot_that_a_reload_brings() {
    let node = FarmNode::start();
    let text = configuration(node.address(), "", "settings = { interval = \"0s\" }");
    let limited = |limit: u32| text.replace("nodes =", &format!("max-sessions = {limit}\nnodes ="));
    let front = Proxy::start(&limited(1));
    let first = front.log_in();
    let address = front.address();
    let waiting = std::thread::spawn(move || {
        let mut session = Dialogue::open(address);
        session.give_password("alice", PASSWORD);
        session.quit();
    });
    until("the login waits", || front.server.pool("mail").expect("a pool").queued() == 1);
    front.reload(&limited(2)).unwrap();
    waiting.join().unwrap();
    first.quit();
}

fn ctl(socket: &Path, arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .arg("ctl")
        .arg("--socket")
        .arg(socket)
        .args(arguments)
        .output()
        .expect("running reprieve")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Starts the binary without the compiler's log lines, which would fill the pipe.
fn started(folder: &Path, text: &str) -> Running {
    let file = folder.join("reprieve.toml");
    std::fs::write(&file, text).unwrap();
    Running::start(&["run", "--config", path(&file), "--log-format", "json"])
}

#[test]
fn an_operator_swaps_shadows_reloads_and_drains_with_ctl() {
    let mail = mail_server(1);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let text = configuration(mail.address(), "", "settings = { interval = \"1h\" }")
        .replace("threads", &format!("admin = {{ socket = {socket:?} }}\nthreads"));
    let mut reprieve = started(folder.path(), &text);
    let address = reprieve.address();
    reprieve.line_with("admin socket ready");
    let poll = || {
        let mut session = Dialogue::open(address);
        session.give_password("alice", PASSWORD);
        session.lines("UIDL");
        session.quit();
    };
    poll();
    let output = said(&ctl(&socket, &["shadow", "pop3", "interval", "--set", "interval=0s"]));
    assert_eq!(output, "virtual server pop3: shadow policy interval\n");
    poll();
    reprieve.line_with("in force: deny unchanged (too-soon, again in ");
    until("the difference is shown", || {
        said(&ctl(&socket, &["status"])).contains("    differences: would-pass 1\n")
    });
    // In a different folder than the server: paths are relative to the caller.
    let mirror = folder.path().join("mirror.wasm");
    std::fs::copy(guests::mirror(), &mirror).unwrap();
    let swapped = Command::new(BINARY)
        .current_dir(folder.path())
        .args(["ctl", "--socket", "admin.sock", "swap", "pop3", "mirror.wasm", "--no-settings"])
        .output()
        .unwrap();
    let output = said(&swapped);
    assert!(output.contains("mirror.wasm") && output.ends_with("version 2\n"), "{output}");
    let logins = mail.stats().logins;
    poll();
    assert_eq!(mail.stats().logins, logins + 1);
    let refused = ctl(&socket, &["swap", "pop3", "interval", "--set", "interval=soon"]);
    assert_eq!(refused.status.code(), Some(2));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("refuses its settings") && why.contains("nothing was changed"), "{why}");
    let output = said(&ctl(&socket, &["swap", "pop3", "--back"]));
    assert!(output.contains("policy interval") && output.ends_with("version 3\n"), "{output}");

    // A reload removes the shadow policy, which is not in the file.
    assert_eq!(said(&ctl(&socket, &["reload"])), "virtual server pop3 changed\n");
    assert_eq!(said(&ctl(&socket, &["reload"])), "no changes\n");
    assert!(!said(&ctl(&socket, &["status"])).contains("shadow"));
    let file = folder.path().join("reprieve.toml");
    std::fs::write(&file, text.replace("banner", "baner")).unwrap();
    let refused = ctl(&socket, &["reload"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr)
            .contains("reprieve.toml:8: unknown key `virtual-server.baner`")
    );
    reprieve.signal("-HUP");
    reprieve.line_with("nothing was changed");
    std::fs::write(&file, text.replace("\"first\"", "\"second\"")).unwrap();
    reprieve.signal("-HUP");
    reprieve.line_with("reload: virtual server pop3");
    assert_eq!(said(&ctl(&socket, &["drain"])), "draining\n");
    assert_eq!(reprieve.ended().code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn watched_files_are_reloaded_when_they_change() {
    let mail = mail_server(1);
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.wasm");
    std::fs::copy(guests::hostile(), &policy).unwrap();
    let text = configuration(mail.address(), "", &format!("component = {policy:?}"))
        .replace("threads", "watch = true\nthreads");
    let mut reprieve = started(folder.path(), &text);
    reprieve.address();
    // Like a build that writes slowly.
    std::fs::write(&policy, b"half of it").unwrap();
    std::fs::copy(guests::mirror(), &policy).unwrap();
    reprieve.line_with("reload: virtual server pop3: policy");
    std::fs::write(&policy, b"what is no policy").unwrap();
    reprieve.line_with("nothing was changed");
    std::fs::write(folder.path().join("reprieve.toml"), text.replace("\"first\"", "\"second\"")).unwrap();
    std::fs::copy(guests::mirror(), &policy).unwrap();
    reprieve.line_with("reload: virtual server pop3");
}
