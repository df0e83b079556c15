//! A Dovecot server with its mailboxes in a temporary folder.

mod configuration;
mod log;
mod maildir;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use configuration::{Features, NewMail, Tls};
use configuration::{LOG, write_passwords};
use log::Log;
pub use maildir::file_name;
use maildir::{Maildir, message};

use super::DEADLINE;
use super::account::{Account, PASSWORD, Security};
use super::dialogue::Dialogue;
use super::tool::Tool;
use super::unprivileged::UnprivilegedUser;

const DOVECOT: Tool = Tool { program: "dovecot", package: "dovecot-pop3d" };
const TAIL: Tool = Tool { program: "tail", package: "coreutils" };

/// A user that logs in only to leave a mark in the log.
const MARKER: &str = "marker";

/// Wait before another mark is made. On a busy machine Dovecot's log process holds back the first
/// line of another process until that process writes the next one.
const MARK_AGAIN: Duration = Duration::from_secs(2);

/// Attempts to start: another process may take the free port before Dovecot does.
const PORTS_TO_TRY: usize = 10;

/// A running Dovecot; dropping it stops its processes and removes its folder.
pub struct Dovecot {
    process: Child,
    /// Reads the log if it is in a file.
    tail: Option<Child>,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    address: SocketAddr,
    tls: Option<SocketAddr>,
    proxied: SocketAddr,
    new_mail: Option<NewMail>,
    users: Mutex<BTreeMap<String, String>>,
    owner: Option<UnprivilegedUser>,
    delivered: AtomicUsize,
    marks: Mutex<usize>,
    // The last field: removed after the processes that write to it have stopped.
    folder: TempDir,
}

impl Dovecot {
    /// Starts a server with these users, whose password is [`PASSWORD`].
    #[track_caller]
    pub fn start(users: &[&str]) -> Self {
        Self::start_with_passwords(&users.iter().map(|&user| (user, PASSWORD)).collect::<Vec<_>>())
    }

    /// Starts a server with these users and passwords.
    #[track_caller]
    pub fn start_with_passwords(users: &[(&str, &str)]) -> Self {
        Self::start_with(users, Features::default())
    }

    /// Starts a server with these users, passwords and features.
    #[track_caller]
    pub fn start_with(users: &[(&str, &str)], features: Features) -> Self {
        let mut users: BTreeMap<_, _> =
            users.iter().map(|&(user, password)| (user.to_owned(), password.to_owned())).collect();
        users.insert(MARKER.to_owned(), PASSWORD.to_owned());
        let mut log = String::new();
        for _ in 0..PORTS_TO_TRY {
            match Self::start_once(users.clone(), features.clone()) {
                Ok(dovecot) => return dovecot,
                Err(said) => log = said,
            }
        }
        panic!("dovecot does not start; it said:\n{log}");
    }

    /// Starts a server; the error is its log.
    fn start_once(users: BTreeMap<String, String>, mut features: Features) -> Result<Self, String> {
        let folder = TempDir::with_prefix("dovecot-").expect("a temporary folder");
        // Dovecot's processes run as several users, which all need access.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
            .expect("permissions of a folder");
        // Dovecot does not open mailboxes as root.
        let owner = UnprivilegedUser::instead_of_root();
        let mail = folder.path().join("mail");
        fs::create_dir(&mail).expect("the mailboxes' folder");
        if let Some(owner) = owner {
            owner.own(&mail);
        }
        write_passwords(folder.path(), &users);
        let address = free_address();
        let proxied = free_address();
        features.proxied = Some(proxied);
        let tls = features.tls.as_mut().map(|tls| {
            tls.address = free_address();
            tls.address
        });
        if let Some(new_mail) = &mut features.new_mail {
            (new_mail.lmtp, new_mail.imap) = (free_address(), free_address());
        }
        let new_mail = features.new_mail.clone();
        let configuration = configuration::write(folder.path(), address, owner, &features);

        let mut process = DOVECOT
            .command()
            .arg("-F")
            .arg("-c")
            .arg(&configuration)
            // A process group, so that one signal stops all of its processes.
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting dovecot");
        let log = Arc::new(Log::default());
        let mut tail = features.logs_to_file.then(|| {
            let mut tail = TAIL.command();
            tail.args(["--quiet", "--retry", "--follow=name", "--lines=+1"]).arg(folder.path().join(LOG));
            tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starting tail")
        });
        let reader = match &mut tail {
            None => Log::follow(&log, process.stderr.take().expect("dovecot's log")),
            Some(tail) => Log::follow(&log, tail.stdout.take().expect("dovecot's log")),
        };
        let dovecot = Self {
            process,
            tail,
            log,
            reader: Some(reader),
            address,
            tls,
            proxied,
            new_mail,
            users: Mutex::new(users),
            owner,
            delivered: AtomicUsize::new(0),
            marks: Mutex::new(0),
            folder,
        };
        // Dovecot logs this when its listeners are open.
        if dovecot.log.wait_for(DEADLINE, 1, |line| line.contains("starting up for pop3")) {
            dovecot.mark();
            Ok(dovecot)
        } else {
            Err(dovecot.log.text())
        }
    }

    /// Process id of its master, which is that of its process group.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its address for cleartext and STLS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address for implicit TLS.
    pub fn tls_address(&self) -> SocketAddr {
        self.tls.expect("a server with TLS")
    }

    /// Its address for connections that begin with a PROXY header.
    pub fn proxied_address(&self) -> SocketAddr {
        self.proxied
    }

    /// Its address for LMTP.
    pub fn lmtp_address(&self) -> SocketAddr {
        self.new_mail.as_ref().expect("a server with LMTP").lmtp
    }

    /// Its address for IMAP.
    pub fn imap_address(&self) -> SocketAddr {
        self.new_mail.as_ref().expect("a server with IMAP").imap
    }

    /// Its log, if it is in a file.
    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join(LOG)
    }

    /// Its configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.folder.path().join("dovecot.conf")
    }

    /// The log lines so far that contain all of these words.
    #[track_caller]
    pub fn log_lines(&self, words: &[&str]) -> Vec<String> {
        self.mark();
        self.log
            .text()
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .map(str::to_owned)
            .collect()
    }

    /// A user's account at Dovecot itself.
    pub fn account(&self, user: &str) -> Account {
        self.account_at(self.address, user)
    }

    /// The account of one of its users, reached through `server`.
    pub fn account_at(&self, server: SocketAddr, user: &str) -> Account {
        let password = self.users.lock().expect("users")[user].clone();
        Account { server, user: user.to_owned(), password, security: Security::Cleartext }
    }

    /// Changes a user's password, and waits until the server uses it.
    #[track_caller]
    pub fn change_password(&self, user: &str, password: &str) {
        let mut users = self.users.lock().expect("users");
        users.insert(user.to_owned(), password.to_owned()).expect("a user that exists");
        // Dovecot checks its password file once per second, and compares sizes. The marker's new
        // password changes the size, and its successful login shows that the file was read.
        users.get_mut(MARKER).expect("the marker").push('!');
        write_passwords(self.folder.path(), &users);
        drop(users);
        let deadline = Instant::now() + DEADLINE;
        // No pause between attempts: Dovecot delays each refusal by half a second.
        while !self.accepts(&self.account(MARKER)) {
            assert!(Instant::now() < deadline, "Dovecot does not read its password file again");
        }
        *self.marks.lock().expect("marks") += 1;
    }

    /// Whether it accepts a login.
    #[track_caller]
    fn accepts(&self, account: &Account) -> bool {
        let mut session = Dialogue::open(self.address);
        session.ok(&format!("USER {}", account.user));
        session.send(&format!("PASS {}", account.password));
        let accepted = session.line().starts_with("+OK");
        session.quit();
        accepted
    }

    /// Delivers this many messages to a user.
    pub fn deliver_many(&self, user: &str, count: usize) {
        for _ in 0..count {
            self.deliver(user);
        }
    }

    /// Delivers a message with the subject `Message N`, where N counts the messages of this server.
    pub fn deliver(&self, user: &str) {
        self.deliver_with(user, "");
    }

    /// Delivers a message that ends with these lines.
    pub fn deliver_with(&self, user: &str, lines: &str) {
        let number = self.delivered.fetch_add(1, Ordering::Relaxed) + 1;
        self.maildir(user).deliver(number, format!("{}{lines}", message(user, number)).as_bytes());
    }

    /// Delivers this file with the name of this number, which the user must not have yet.
    pub fn deliver_file(&self, user: &str, number: usize, text: &[u8]) {
        self.maildir(user).deliver(number, text);
    }

    /// The files of a user's messages by their names with flags.
    pub fn files(&self, user: &str) -> Vec<(String, Vec<u8>)> {
        self.maildir(user).files()
    }

    /// Removes a message, as another program would.
    #[track_caller]
    pub fn remove_file(&self, user: &str, name: &str) {
        self.maildir(user).remove(name);
    }

    /// Messages of a user, counted by the files in the mailbox.
    pub fn messages(&self, user: &str) -> usize {
        self.maildir(user).count()
    }

    /// Successful logins of a user so far.
    #[track_caller]
    pub fn logins(&self, user: &str) -> usize {
        self.mark();
        self.log.count(|line| line.contains(&login_line(user)))
    }

    /// Connections that have logged in or ended without a login, except the marker's.
    #[track_caller]
    pub fn connections(&self) -> usize {
        self.mark();
        let of_the_marker = format!("user=<{MARKER}>");
        self.log.count(|line| line.contains("pop3-login: Info: ") && !line.contains(&of_the_marker))
    }

    /// Waits until this many sessions of a user have ended and released the mailbox.
    #[track_caller]
    pub fn wait_for_ended_sessions(&self, user: &str, count: usize) {
        let session = format!("pop3({user})<");
        let ended = |line: &str| line.contains(&session) && line.contains("Info: Disconnected: ");
        assert!(
            self.log.wait_for(DEADLINE, count, ended),
            "not {count} ended sessions of {user}; the log:\n{}",
            self.log.text()
        );
    }

    /// Makes a mark in the log and waits for it. Everything that happened before is then in the log
    /// too, because a single login process writes all lines about connections and logins.
    #[track_caller]
    fn mark(&self) {
        let mut marks = self.marks.lock().expect("marks");
        let mark = login_line(MARKER);
        let deadline = Instant::now() + DEADLINE;
        loop {
            Dialogue::log_in(&self.account(MARKER)).quit();
            *marks += 1;
            if self.log.wait_for(MARK_AGAIN, *marks, |line| line.contains(&mark)) {
                return;
            }
            assert!(Instant::now() < deadline, "the mark is missing in the log:\n{}", self.log.text());
        }
    }

    fn maildir(&self, user: &str) -> Maildir {
        Maildir::new(self.folder.path().join("mail").join(user), self.owner)
    }

    /// Sends a signal to all of its processes.
    fn signal(&self, signal: libc::c_int) {
        let group = libc::pid_t::try_from(self.process.id()).expect("a process id");
        // SAFETY: kill has no preconditions. The group is ours: its leader has not been waited for.
        unsafe { libc::kill(-group, signal) };
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("dovecot's log:\n{}", self.log.text());
        }
        self.signal(libc::SIGTERM);
        if let Some(tail) = &mut self.tail {
            let _ = self.process.wait();
            let _ = tail.kill();
            let _ = tail.wait();
        }
        // The log ends when the last process that can write to it exits.
        if !self.log.wait_for_end() {
            self.signal(libc::SIGKILL);
        }
        let _ = self.process.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// The log line of a successful login.
fn login_line(user: &str) -> String {
    format!("pop3-login: Info: Login: user=<{user}>,")
}

/// A loopback address with a port that was free a moment ago.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a port")
}
