//! Privileged ports and inherited sockets, and what root does in folders of the service user.

#[allow(dead_code, unused_imports, reason = "these tests use a part of it")]
mod support;

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use support::account::PASSWORD;
use support::certificates::{Age, Authority};
use support::dialogue::Dialogue;
use support::mail_server;
use support::running::{BINARY, Running};
use support::{DEADLINE, write_secret};

fn configuration(node: SocketAddr, listen: &str, top: &str, server: &str) -> String {
    format!(
        "threads = 2\npolicy-cache = \"off\"\n{top}\n[[virtual-server]]\nname = \"pop3\"\nlisten = [\"{listen}\"]\n\
         pool = \"mail\"\n{server}\n[pool.mail]\nnodes = [\"{node}\"]\nhealth-check = \"off\"\n"
    )
}

fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

/// The user and group ids of each thread of a process.
fn owners(process: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    tasks
        .flat_map(|task| {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let ids = |line: &&str| line.starts_with("Uid:") || line.starts_with("Gid:");
            status.lines().filter(ids).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn root_opens_a_privileged_port_and_an_unprivileged_user_serves_it() {
    let mail = mail_server(1);
    let folder = tempfile::tempdir().unwrap();
    let top = "user = \"nobody\"";
    if !is_root() {
        // Only root can change the user; for others it is an error.
        let text = configuration(mail.address(), "127.0.0.1:0", top, "");
        let mut reprieve = Running::with_configuration(folder.path(), &text);
        reprieve.line_with("only root can switch to that user");
        return;
    }
    // A free privileged port.
    let port = (600..1023).find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).expect("a low port");
    // Only root can read the key.
    let authority = Authority::new();
    let files = authority.server("front", &["localhost"], Age::Valid);
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&files.key, private).unwrap();
    let tls = format!(
        "cleartext-login = \"allow\"\n[virtual-server.tls]\ncertificate = {:?}\nkey = {:?}",
        files.chain, files.key
    );
    let text = configuration(mail.address(), &format!("127.0.0.1:{port}"), top, &tls);
    let mut reprieve = Running::with_configuration(folder.path(), &text);
    let address = reprieve.address();
    assert_eq!(address.port(), port);
    let mut session = Dialogue::open(address);
    session.start_tls(&authority.trusted(None), "localhost");
    session.give_password("alice", PASSWORD);
    session.quit();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().expect("nobody");
    let owners = owners(reprieve.id());
    assert!(owners.len() >= 6, "{owners:?}");
    for line in &owners {
        let id = if line.starts_with("Uid") { nobody.uid.as_raw() } else { nobody.gid.as_raw() };
        assert!(line.split_whitespace().skip(1).all(|word| word == id.to_string()), "{line}");
    }
    // Without access to the key, the current certificate stays in use.
    reprieve.signal("-HUP");
    reprieve.line_with("the old ones stay in use");
    let mut session = Dialogue::open(address);
    session.start_tls(&authority.trusted(None), "localhost");
    session.quit();
}

#[test]
fn a_missing_user_or_group_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let node = "127.0.0.1:1".parse().unwrap();
    for (top, expected) in [
        ("user = \"no-such-user\"", "useradd --system --no-create-home no-such-user"),
        ("user = \"nobody\"\ngroup = \"no-such-group\"", "groupadd --system no-such-group"),
    ] {
        let text = configuration(node, "127.0.0.1:0", top, "");
        let mut reprieve = Running::with_configuration(folder.path(), &text);
        reprieve.line_with(expected);
        assert_eq!(reprieve.ended().code(), Some(2));
    }
}

#[test]
fn inherited_listening_sockets_are_used() {
    let mail = mail_server(1);
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let file = folder.path().join("reprieve.toml");
    std::fs::write(&file, configuration(mail.address(), &address.to_string(), "", "")).unwrap();
    // Like systemd: descriptors from 3 on; the environment has their number and the process.
    let descriptor = listener.as_raw_fd();
    let script = format!(
        "exec 3<&{descriptor}; LISTEN_PID=$$ LISTEN_FDS=1 exec {BINARY} run --config {} --log-format json",
        file.display()
    );
    let duplicate = nix::fcntl::fcntl(&listener, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()));
    duplicate.expect("a descriptor that is inherited");
    let mut reprieve = Running::spawn(Command::new("bash").args(["-c", &script]));
    assert_eq!(reprieve.address(), address);
    // The socket is open in this process too, but only Reprieve accepts from it.
    for _ in 0..4 {
        let mut session = Dialogue::open(address);
        session.give_password("alice", PASSWORD);
        session.quit();
    }
    drop(listener);
}

#[test]
fn certificates_are_reloaded_on_sighup_and_when_the_file_changes() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let folder = tempfile::tempdir().unwrap();
    let files = authority.server("front", &["localhost"], Age::Valid);
    let tls = format!("[virtual-server.tls]\ncertificate = {:?}\nkey = {:?}", files.chain, files.key);
    let shown = |address| {
        let mut session = Dialogue::open(address);
        session.start_tls(&authority.trusted(None), "localhost");
        let certificate = session.tls().peer_certificates().unwrap()[0].to_vec();
        session.quit();
        certificate
    };
    for (top, by_signal) in [("certificate-check = \"off\"", true), ("certificate-check = \"200ms\"", false)]
    {
        let text = configuration(mail.address(), "127.0.0.1:0", top, &tls);
        let mut reprieve = Running::with_configuration(folder.path(), &text);
        let address = reprieve.address();
        let before = shown(address);
        authority.server("front", &["localhost"], Age::Valid);
        if by_signal {
            reprieve.signal("-HUP");
        }
        reprieve.line_with("certificates reloaded");
        assert_ne!(shown(address), before);
    }
}

#[test]
fn a_limit_of_file_descriptors_below_max_connections_causes_a_warning() {
    let mail = mail_server(0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reprieve.toml");
    std::fs::write(&file, configuration(mail.address(), "127.0.0.1:0", "max-connections = 5000", ""))
        .unwrap();
    let script = format!("ulimit -n 1000 && exec {BINARY} run --config {} --log-format json", file.display());
    let mut reprieve = Running::spawn(Command::new("bash").args(["-c", &script]));
    let line = reprieve.line_with("more file descriptors than the limit");
    assert!(line.contains("10100") && line.contains("LimitNOFILE"), "{line}");
    reprieve.address();
}

/// What the service user plants at a path in their folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    /// A symbolic link to a file that belongs to root.
    Link,
    /// A symbolic link to a missing file in a folder that belongs to root.
    Nowhere,
    HardLink,
    Fifo,
    Folder,
    /// A symbolic link to a folder that belongs to root.
    RootsFolder,
    /// A symbolic link to itself.
    Circle,
}

const ALL_PLANTED: [Planted; 7] = [
    Planted::Link,
    Planted::Nowhere,
    Planted::HardLink,
    Planted::Fifo,
    Planted::Folder,
    Planted::RootsFolder,
    Planted::Circle,
];
/// Paths that a start writes to, and what may be in their place so that it serves all the same: it is
/// replaced, renamed, used, or done without, as the user that it runs as.
const WRITTEN: [(&str, &[Planted]); 6] = [
    ("decisions.jsonl", &[Planted::Fifo]),
    ("state.redb", &ALL_PLANTED),
    ("cache", &[Planted::Folder]),
    ("admin.sock", &ALL_PLANTED),
    ("new-mail.sock", &ALL_PLANTED),
    ("log.position", &ALL_PLANTED),
];
/// Paths that it only reads.
const READ: [(&str, &[Planted]); 11] = [
    ("token", &[]),
    ("read-token", &[]),
    ("new-mail-token", &[]),
    ("users.key", &[]),
    ("share.secret", &[]),
    ("front.key", &[]),
    ("front.pem", &[]),
    ("client-ca.pem", &[]),
    ("plans.table", &[]),
    ("policy.wasm", &[]),
    // It is read while others write to it, and need not be there at the start.
    ("mail.log", &ALL_PLANTED),
];
/// Time for an end without sessions, on a machine that does other work too. What hangs ends only when
/// `drain-timeout` and seven seconds are over.
const END_AT_ONCE: Duration = Duration::from_secs(5);

/// A folder of the service user, and one of root.
struct Attack {
    theirs: tempfile::TempDir,
    roots: tempfile::TempDir,
    nobody: u32,
    authority: Authority,
}

impl Attack {
    fn new() -> Self {
        let nobody = nix::unistd::User::from_name("nobody").unwrap().expect("nobody").uid.as_raw();
        let attack = Self {
            theirs: tempfile::tempdir().unwrap(),
            roots: tempfile::tempdir().unwrap(),
            nobody,
            authority: Authority::new(),
        };
        chown(attack.theirs.path(), Some(nobody), None).unwrap();
        write_secret(&attack.victim(), "a secret of root's alone\n");
        attack
    }

    fn victim(&self) -> PathBuf {
        self.roots.path().join("victim")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.theirs.path().join(name)
    }

    /// Creates a file that belongs to the service user.
    fn give(&self, name: &str, text: &str) {
        write_secret(&self.at(name), text);
        chown(self.at(name), Some(self.nobody), None).unwrap();
    }

    /// Writes a configuration with every possible path in the service user's folder.
    fn configuration(&self, node: SocketAddr, component: &str) -> PathBuf {
        let at = |name: &str| self.at(name).display().to_string();
        let text = format!(
            "threads = 1\nuser = \"nobody\"\ndrain-timeout = \"1s\"\npolicy-cache = \"{cache}\"\ndecision-log = {{ path = \"{log}\", users = \
             \"hashed\", hash-key-file = \"{users}\" }}\nadmin = {{ socket = \"{socket}\", listen = [\"127.0.0.1:0\"], \
             token-file = \"{token}\", read-token-file = \"{read}\", new-mail-token-file = \"{signals}\", \
             new-mail-socket = \"{datagrams}\" }}\n[store]\nbackend = \"file\"\npath = \"{store}\"\nshare = \"tags\"\n\
             secret-file = \"{share}\"\n[pool.mail]\nnodes = [\"{node}\"]\nhealth-check = \"off\"\n[pool.mail.new-mail]\n\
             log = {{ path = \"{mail_log}\", position = \"{position}\" }}\n[[virtual-server]]\nname = \"pop3\"\n\
             listen = [\"127.0.0.1:0\"]\nlookups = {{ plans = \"{plans}\" }}\npool = \"mail\"\ncleartext-login = \"allow\"\n\
             [virtual-server.tls]\ncertificate = \"{chain}\"\nkey = \"{key}\"\nclient-ca = \"{client_ca}\"\n[virtual-server.policy]\ncomponent = \"{component}\"\n",
            cache = at("cache"),
            log = at("decisions.jsonl"),
            users = at("users.key"),
            socket = at("admin.sock"),
            token = at("token"),
            read = at("read-token"),
            signals = at("new-mail-token"),
            datagrams = at("new-mail.sock"),
            share = at("share.secret"),
            mail_log = at("mail.log"),
            position = at("log.position"),
            plans = at("plans.table"),
            client_ca = at("client-ca.pem"),
            store = at("state.redb"),
            chain = at("front.pem"),
            key = at("front.key"),
        );
        let file = self
            .roots
            .path()
            .parent()
            .expect("a folder")
            .join(format!("{}.toml", self.theirs.path().file_name().unwrap().to_string_lossy()));
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Creates all files as they should be.
    fn arrange(&self) {
        let files = self.authority.server("front", &["localhost"], Age::Valid);
        self.give("front.pem", &std::fs::read_to_string(&files.chain).unwrap());
        self.give("front.key", &std::fs::read_to_string(&files.key).unwrap());
        self.give("token", "a token of enough characters".replace(' ', "-").as_str());
        self.give("read-token", "another-token-of-enough-characters");
        self.give("new-mail-token", "a-third-token-of-enough-characters");
        self.give("users.key", "a key of enough characters\n");
        self.give("share.secret", "a secret of enough characters\n");
        self.give("client-ca.pem", &std::fs::read_to_string(&files.chain).unwrap());
        self.give("plans.table", "alice gold\n");
        self.give("mail.log", "");
        std::fs::copy(support::guests::mirror(), self.at("policy.wasm")).unwrap();
        chown(self.at("policy.wasm"), Some(self.nobody), None).unwrap();
    }

    fn plant(&self, name: &str, planted: Planted) {
        let path = self.at(name);
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_dir_all(&path);
        match planted {
            Planted::Link => symlink(self.victim(), &path).unwrap(),
            Planted::Nowhere => symlink(self.roots.path().join("new"), &path).unwrap(),
            Planted::HardLink => std::fs::hard_link(self.victim(), &path).unwrap(),
            Planted::Fifo => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            Planted::Folder => std::fs::create_dir(&path).unwrap(),
            Planted::RootsFolder => symlink(self.roots.path(), &path).unwrap(),
            Planted::Circle => symlink(&path, &path).unwrap(),
        }
        if planted != Planted::HardLink {
            lchown(&path, Some(self.nobody), None).unwrap();
        }
    }

    /// Nothing in root's folder was written, created or given away.
    #[track_caller]
    fn came_to_nothing(&self, what: &str) {
        let names: Vec<_> =
            std::fs::read_dir(self.roots.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["victim"], "{what}");
        let metadata = std::fs::metadata(self.victim()).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (0, 0, 0o600), "{what}");
        let text = std::fs::read_to_string(self.victim()).unwrap();
        assert_eq!(text, "a secret of root's alone\n", "{what}");
    }
}

/// Starts it and waits until it serves or exits; stops it, and returns whether it served and its log.
fn tried(arguments: &[&str], what: &str) -> (bool, String) {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .args(["--log-format", "json"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("starting reprieve");
    let (tell, told) = mpsc::channel();
    let log = BufReader::new(child.stderr.take().expect("its standard error"));
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        for line in log.lines() {
            let line = line.unwrap_or_default();
            let serves = line.contains("admin socket ready");
            all += &(line + "\n");
            if serves {
                let _ = tell.send((true, all.clone()));
            }
        }
        let _ = tell.send((false, all));
    });
    let outcome = told.recv_timeout(DEADLINE);
    let began = Instant::now();
    let _ = Command::new("kill").arg(child.id().to_string()).stderr(Stdio::null()).status();
    let ended = std::thread::scope(|scope| {
        let reader = scope.spawn(|| reader.join());
        while !reader.is_finished() && began.elapsed() < END_AT_ONCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        let ended = reader.is_finished();
        let _ = child.kill();
        let _ = child.wait();
        ended
    });
    let outcome = outcome.unwrap_or_else(|_| panic!("{what}: it neither serves nor exits"));
    assert!(ended, "{what}: it does not end: {}", outcome.1);
    outcome
}

#[test]
fn root_follows_no_file_that_the_service_user_plants() {
    if !is_root() {
        return;
    }
    let mail = mail_server(0);
    let cases = WRITTEN.into_iter().chain(READ);
    let cases = cases.flat_map(|case| ALL_PLANTED.map(|planted| (case, planted)));
    // Two at a time, because most of each start is waiting.
    let cases = std::sync::Mutex::new(cases);
    let next = || cases.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(((name, serves_with), planted)) = next() {
                    attacked(mail.address(), name, planted, serves_with.contains(&planted));
                }
            });
        }
    });
}

/// Starts it with something planted at a path. `may_serve`: whether it may serve nevertheless.
fn attacked(node: SocketAddr, name: &str, planted: Planted, may_serve: bool) {
    let (attack, what) = (Attack::new(), format!("{planted:?} at {name}"));
    attack.arrange();
    attack.plant(name, planted);
    let policy = attack.at("policy.wasm").display().to_string();
    let component = if name == "policy.wasm" { &policy } else { "interval" };
    let file = attack.configuration(node, component);
    let (serves, said) = tried(&["run", "--config", file.to_str().unwrap()], &what);
    attack.came_to_nothing(&what);
    assert!(may_serve || !serves, "{what}: {said}");
    assert!(serves || said.contains(name), "{what}: {said}");
    std::fs::remove_file(file).unwrap();
}

/// A process that serves with its files in the service user's folder; returns its configuration too.
fn under_attack(node: SocketAddr) -> (Attack, PathBuf, Running) {
    let attack = Attack::new();
    attack.arrange();
    let file = attack.configuration(node, "interval");
    let arguments = ["run", "--config", file.to_str().unwrap(), "--log-format", "json"];
    let mut serving = Running::start(&arguments);
    serving.line_with("admin socket ready");
    (attack, file, serving)
}

#[test]
fn root_follows_no_link_during_a_takeover() {
    if !is_root() {
        return;
    }
    let mail = mail_server(0);
    let (attack, file, serving) = under_attack(mail.address());
    let file = file.to_str().unwrap();
    // The service user watches the folder and replaces files quickly.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                for entry in std::fs::read_dir(attack.theirs.path()).unwrap().flatten() {
                    if entry.file_name().to_string_lossy().contains(".take-over.") {
                        let aside = attack.at("planted");
                        if symlink(attack.victim(), &aside).is_ok() {
                            let _ = std::fs::rename(&aside, entry.path());
                        }
                    }
                }
            }
        });
        for _ in 0..5 {
            tried(&["run", "--take-over", "--config", file], "a race");
            attack.came_to_nothing("a race");
        }
        stop.store(true, Ordering::SeqCst);
    });
    drop(serving);
    // A link to a socket of root is not followed, either.
    let roots = UnixListener::bind(attack.roots.path().join("victim.sock")).unwrap();
    roots.set_nonblocking(true).unwrap();
    let _ = std::fs::remove_file(attack.at("admin.sock"));
    symlink(attack.roots.path().join("victim.sock"), attack.at("admin.sock")).unwrap();
    let (serves, said) = tried(&["run", "--take-over", "--config", file], "a socket of root's");
    assert!(!serves && said.contains("admin.sock"), "{said}");
    assert!(roots.accept().is_err(), "root connected");
    std::fs::remove_file(attack.roots.path().join("victim.sock")).unwrap();
    attack.came_to_nothing("a socket of root's");
    std::fs::remove_file(file).unwrap();
}

#[test]
fn start_check_and_takeover_agree_on_the_owner_of_the_policy_cache() {
    if !is_root() {
        return;
    }
    let mail = mail_server(0);
    let (attack, file, _serving) = under_attack(mail.address());
    let file = file.to_str().unwrap();
    let cache = std::fs::metadata(attack.at("cache")).unwrap();
    assert_eq!((cache.uid(), cache.mode() & 0o777), (attack.nobody, 0o700));
    let check = |file: &str| {
        let output = Command::new(BINARY).args(["check", "--config", file]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(check(file), (Some(0), String::new()));
    let (serves, said) = tried(&["run", "--take-over", "--config", file], "the take-over");
    assert!(serves && said.contains("took over the listening sockets of the running process"), "{said}");
    // If systemd sets the user, an administrator checks as root, which must not run cached code of
    // another user.
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, text.replace("user = \"nobody\"\n", "")).unwrap();
    let (code, said) = check(file);
    assert!(code == Some(0) && said.contains("belongs to user 65534"), "{said}");
    // A cache that others can write to is refused.
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(attack.at("cache"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let (code, said) = check(file);
    assert!(code == Some(2) && said.contains("chmod 700"), "{said}");
    std::fs::remove_file(file).unwrap();
}
