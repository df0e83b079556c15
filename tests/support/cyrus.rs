//! A Cyrus IMAP server from Debian's packages. It is unpacked into the target folder because
//! Debian installs only one POP3 server at a time.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::account::{Account, PASSWORD, Security};
use super::tool::Tool;
use super::until;

const SASLPASSWD: Tool = Tool { program: "saslpasswd2", package: "sasl2-bin" };

/// Where `tests/setup` unpacks it.
const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-tools/cyrus");

/// A running Cyrus; dropping it stops its processes and removes its folder.
pub struct Cyrus {
    process: Child,
    address: SocketAddr,
    delivered: AtomicUsize,
    folder: TempDir,
}

impl Cyrus {
    /// Starts a server with these users, whose password is [`PASSWORD`].
    #[track_caller]
    pub fn start(users: &[&str]) -> Self {
        Self::start_with(users, "")
    }

    /// Starts a server with these users and more settings.
    #[track_caller]
    pub fn start_with(users: &[&str], settings: &str) -> Self {
        let place = fs::canonicalize(PLACE).unwrap_or_else(|_| {
            panic!("Cyrus is not unpacked; unpack it with: tests/setup");
        });
        let folder = TempDir::with_prefix("cyrus-").expect("a temporary folder");
        let here = folder.path();
        for name in ["conf", "spool", "sock"] {
            fs::create_dir(here.join(name)).expect("a folder");
        }
        let passwords = here.join("sasldb");
        for user in users {
            let mut child = Command::new(SASLPASSWD.path())
                .args(["-p", "-c", "-u", "localhost", "-f"])
                .arg(&passwords)
                .arg(user)
                .stdin(Stdio::piped())
                .spawn()
                .expect("starting saslpasswd2");
            writeln!(child.stdin.take().expect("its input"), "{PASSWORD}").expect("a password");
            assert!(child.wait().expect("saslpasswd2").success());
        }
        let owner = if nix::unistd::geteuid().is_root() {
            "nobody".to_owned()
        } else {
            nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().expect("this user").name
        };
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        bring(&place, here);
        write_configuration(here, address, &owner, settings);
        if nix::unistd::geteuid().is_root() {
            let nobody = nix::unistd::User::from_name("nobody").unwrap().expect("nobody");
            own(here, &nobody);
        }
        let process = Command::new(here.join("programs/master"))
            .arg("-C")
            .arg(here.join("imapd.conf"))
            .arg("-M")
            .arg(here.join("cyrus.conf"))
            .arg("-p")
            .arg(here.join("master.pid"))
            .env("LD_LIBRARY_PATH", here.join("programs"))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starting Cyrus");
        let cyrus = Self { process, address, delivered: AtomicUsize::new(0), folder };
        until("Cyrus listens", || TcpStream::connect(address).is_ok());
        cyrus
    }

    /// Its POP3 address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The account of one of its users, reached through `server`.
    pub fn account_at(&self, server: SocketAddr, user: &str) -> Account {
        let password = PASSWORD.to_owned();
        Account { server, user: user.to_owned(), password, security: Security::Cleartext }
    }

    /// Delivers a message to a user by LMTP. The user must have logged in before: that creates the
    /// mailbox.
    #[track_caller]
    pub fn deliver(&self, user: &str) {
        let number = self.delivered.fetch_add(1, Ordering::Relaxed) + 1;
        let message = format!(
            "From: somebody@example.org\r\nTo: {user}@example.org\r\nSubject: Message {number}\r\n\
             Message-Id: <{number}@example.org>\r\nDate: Tue, 10 Mar 2026 12:00:00 +0100\r\n\r\nbody\r\n"
        );
        self.deliver_text(&[user], message.as_bytes());
    }

    /// Delivers a message to several users at once; it is stored with the same header for all of them.
    #[track_caller]
    pub fn deliver_text(&self, users: &[&str], text: &[u8]) {
        let stream = UnixStream::connect(self.folder.path().join("sock/lmtp")).expect("the LMTP socket");
        let mut stream = BufReader::new(stream);
        let mut said = String::new();
        let recipients = users.iter().map(|user| (format!("RCPT TO:<{user}>\r\n").into_bytes(), "250", 1));
        let mut commands = vec![
            (Vec::new(), "220", 1),
            (b"LHLO localhost\r\n".to_vec(), "250", 1),
            (b"MAIL FROM:<somebody@example.org>\r\n".to_vec(), "250", 1),
        ];
        commands.extend(recipients);
        commands.push((b"DATA\r\n".to_vec(), "354", 1));
        // Each recipient gets a reply.
        commands.push((on_the_wire(text), "250", users.len()));
        commands.push((b"QUIT\r\n".to_vec(), "221", 1));
        for (command, expected, replies) in commands {
            stream.get_mut().write_all(&command).expect("LMTP");
            for _ in 0..replies {
                loop {
                    said.clear();
                    stream.read_line(&mut said).expect("LMTP");
                    assert!(said.starts_with(expected), "{}: {said:?}", command.escape_ascii());
                    if said.as_bytes().get(3) == Some(&b' ') {
                        break;
                    }
                }
            }
        }
    }
}

/// A message as it is sent after DATA: lines end in CR LF, and those that begin with a dot get another one.
fn on_the_wire(text: &[u8]) -> Vec<u8> {
    let mut sent = Vec::new();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b".") {
            sent.push(b'.');
        }
        sent.extend_from_slice(line);
        sent.extend_from_slice(b"\r\n");
    }
    sent.extend_from_slice(b".\r\n");
    sent
}

fn libraries(place: &Path) -> PathBuf {
    let lib = place.join("usr/lib");
    let mut folders =
        fs::read_dir(lib).expect("its libraries").filter_map(Result::ok).map(|entry| entry.path());
    folders.find(|folder| folder.join("libcyrus.so.0").exists()).expect("its libraries")
}

/// Copies the programs into the server's folder: its user may have no access to the build's.
fn bring(place: &Path, here: &Path) {
    let programs = here.join("programs");
    fs::create_dir(&programs).expect("a folder");
    let copy = |from: &Path| {
        let name = from.file_name().expect("a name");
        fs::copy(from, programs.join(name)).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    };
    for name in ["master", "pop3d", "lmtpd"] {
        copy(&place.join("usr/lib/cyrus/bin").join(name));
    }
    for entry in fs::read_dir(libraries(place)).expect("its libraries") {
        let path = entry.expect("a library").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libcyrus")) {
            copy(&path);
        }
    }
}

fn write_configuration(here: &Path, address: SocketAddr, owner: &str, settings: &str) {
    let (folder, bin) = (here.display(), here.join("programs"));
    let imapd = format!(
        "configdirectory: {folder}/conf\ndefaultpartition: default\npartition-default: {folder}/spool\n\
         cyrus_user: {owner}\nadmins: cyrus\nallowplaintext: yes\nsasl_pwcheck_method: auxprop\n\
         sasl_auxprop_plugin: sasldb\nsasl_sasldb_path: {folder}/sasldb\n\
         sasl_mech_list: PLAIN LOGIN CRAM-MD5\nautocreate_quota: 0\nautocreate_post: yes\n\
         autocreate_users: anyone\nservername: localhost\nlmtpsocket: {folder}/sock/lmtp\n\
         tls_server_cert: disabled\n{settings}"
    );
    fs::write(here.join("imapd.conf"), imapd).expect("a configuration");
    let master = format!(
        "START {{\n}}\nSERVICES {{\n  pop3 cmd=\"{bin}/pop3d -C {folder}/imapd.conf\" listen=\"{address}\" prefork=0\n  \
         lmtpunix cmd=\"{bin}/lmtpd -a -C {folder}/imapd.conf\" listen=\"{folder}/sock/lmtp\" prefork=0\n}}\n\
         EVENTS {{\n}}\n",
        bin = bin.display(),
    );
    fs::write(here.join("cyrus.conf"), master).expect("a configuration");
}

fn own(path: &Path, owner: &nix::unistd::User) {
    nix::unistd::chown(path, Some(owner.uid), Some(owner.gid)).expect("an owner");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder") {
            own(&entry.expect("an entry").path(), owner);
        }
    }
}

impl Drop for Cyrus {
    fn drop(&mut self) {
        let group = libc::pid_t::try_from(self.process.id()).expect("a process id");
        for signal in [libc::SIGTERM, libc::SIGKILL] {
            // SAFETY: kill has no preconditions. The group is ours: its leader is not waited for
            // before the first signal, and its id is not reused before the second.
            unsafe { libc::kill(-group, signal) };
            if signal == libc::SIGTERM {
                let _ = self.process.wait();
            }
        }
    }
}
