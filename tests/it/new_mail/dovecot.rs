//! Signals of a real Dovecot.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{NOTIFICATIONS, SIGNALS, Site};
use crate::support::DEADLINE;
use crate::support::account::PASSWORD;
use crate::support::certificates::{Age, Authority};
use crate::support::dovecot::{Dovecot, Features, NewMail};
use crate::support::running::BINARY;
use crate::support::write_secret;

/// A Dovecot whose deliveries run the script in this folder, which is written later.
fn dovecot(folder: &Path, settings: &str) -> Dovecot {
    let driver = format!("lua:file={}", script_in(folder).display());
    let new_mail = NewMail { settings: settings.to_owned(), ..NewMail::by(driver) };
    let features = Features { new_mail: Some(new_mail), ..Features::default() };
    Dovecot::start_with(&[("alice", PASSWORD), ("bob", PASSWORD)], features)
}

pub(super) fn script_in(folder: &Path) -> std::path::PathBuf {
    folder.join("reprieve.lua")
}

/// A folder that Dovecot's users can read.
pub(super) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Writes the script that signals to these URLs.
pub(super) fn write_script(folder: &Path, urls: &[&str], more: &[&str]) {
    let token = folder.join("signals.token");
    write_secret(&token, SIGNALS);
    let mut command = Command::new(BINARY);
    command.args(["new-mail", "dovecot-script", "--token-file"]).arg(&token).args(more);
    for url in urls {
        command.args(["--url", url]);
    }
    let output = command.output().expect("running reprieve");
    assert!(output.status.success(), "{output:?}");
    std::fs::write(script_in(folder), output.stdout).unwrap();
}

fn url(site: &Site) -> String {
    format!("http://{}", site.admin)
}

/// A conversation in lines, as of LMTP and IMAP.
struct Lines {
    stream: BufReader<TcpStream>,
}

impl Lines {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }

    /// Sends a line, and reads until one that begins with `end`.
    #[track_caller]
    fn ask(&mut self, line: &str, end: &str) -> String {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        loop {
            let answer = self.line();
            assert!(!answer.is_empty(), "the connection ended after {line:?}");
            if answer.starts_with(end) {
                return answer;
            }
            let failed = ["4", "5", "a NO", "a BAD"].iter().any(|bad| answer.starts_with(bad));
            assert!(!failed, "{line:?} was answered by {answer:?}");
        }
    }
}

/// Delivers a message, and returns how long the server took to take it.
#[track_caller]
fn deliver_by_lmtp(dovecot: &Dovecot, recipients: &[&str]) -> Duration {
    let start = Instant::now();
    let message = "From: Sender <sender@example.org>\r\nSubject: secret\r\n\r\nnew\r\n.";
    deliver_message(dovecot, recipients, message);
    start.elapsed()
}

/// Delivers a message, which ends with a line that has only a dot; returns the answer for each recipient.
#[track_caller]
pub(super) fn deliver_message(dovecot: &Dovecot, recipients: &[&str], message: &str) -> Vec<String> {
    let mut lmtp = Lines::connect(dovecot.lmtp_address());
    lmtp.line();
    lmtp.ask("LHLO localhost", "250 ");
    lmtp.ask("MAIL FROM:<sender@example.org>", "250 ");
    for recipient in recipients {
        lmtp.ask(&format!("RCPT TO:<{recipient}>"), "250 ");
    }
    lmtp.ask("DATA", "354 ");
    let mut answers = vec![lmtp.ask(message, "250 ")];
    answers.extend(recipients[1..].iter().map(|_| lmtp.line()));
    assert!(answers.iter().all(|answer| answer.starts_with("250 ")), "{answers:?}");
    answers
}

fn deliver_by_lda(dovecot: &Dovecot, user: &str) {
    let mut child = Command::new("/usr/lib/dovecot/dovecot-lda")
        .arg("-c")
        .arg(dovecot.configuration())
        .args(["-d", user])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("running dovecot-lda");
    child.stdin.take().unwrap().write_all(b"Subject: secret\n\nnew\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Appends a message to a mailbox over IMAP.
fn append(dovecot: &Dovecot, user: &str, mailbox: &str) {
    let mut imap = Lines::connect(dovecot.imap_address());
    imap.line();
    imap.ask(&format!("a LOGIN {user} \"{PASSWORD}\""), "a OK");
    if mailbox != "INBOX" {
        imap.ask(&format!("a CREATE {mailbox}"), "a OK");
    }
    let message = "Subject: secret\r\n\r\nnew\r\n";
    imap.ask(&format!("a APPEND {mailbox} {{{}}}", message.len()), "+");
    imap.ask(message, "a OK");
    imap.ask("a LOGOUT", "a OK");
}

#[track_caller]
fn poll_until_posed(site: &Site, dovecot: &Dovecot, user: &str) {
    for _ in 0..4 {
        let before = dovecot.logins(user);
        site.poll(user);
        if dovecot.logins(user) == before {
            return;
        }
    }
    panic!("all logins of {user} pass");
}

#[test]
fn each_message_that_dovecot_stores_in_an_inbox_lets_the_next_login_pass() {
    let folder = folder();
    let dovecot = dovecot(folder.path(), "");
    let site = Site::in_front_of(dovecot.address());
    write_script(folder.path(), &[&url(&site)], &["--pool", "mail"]);
    poll_until_posed(&site, &dovecot, "alice");
    let mut messages = 0;
    for round in 0..3 {
        for (way, deliver) in [
            (
                "LMTP",
                &(|| {
                    deliver_by_lmtp(&dovecot, &["alice"]);
                }) as &dyn Fn(),
            ),
            ("LDA", &|| deliver_by_lda(&dovecot, "alice")),
            ("IMAP", &|| append(&dovecot, "alice", "INBOX")),
        ] {
            deliver();
            messages += 1;
            let logins = dovecot.logins("alice");
            assert_eq!(site.poll("alice"), messages, "{way}, {round}");
            assert_eq!(site.poll("alice"), messages, "{way}, {round}");
            assert_eq!(dovecot.logins("alice"), logins + 1, "{way}, {round}: one signal, one pass");
        }
    }
    let signals = || site.metric("reprieve_new_mail_signals", "source=\"http\"");
    let before = signals();
    append(&dovecot, "alice", "Trash");
    assert_eq!(signals(), before, "POP3 does not show other mailboxes");
    deliver_by_lmtp(&dovecot, &["alice", "bob"]);
    assert_eq!(signals(), before + 2.0);
    assert_eq!(dovecot.log_lines(&["Error"]), [""; 0]);
}

#[test]
fn the_script_signals_over_https_with_a_private_authority() {
    let folder = folder();
    let authority = Authority::new();
    let files = authority.server("admin", &["localhost"], Age::Valid);
    for (trusted, lost) in [(authority.file(), 0), (Authority::new().file(), 1)] {
        // The authority's own file can be read by its owner only.
        let ca = folder.path().join("ca.pem");
        std::fs::copy(trusted, &ca).unwrap();
        std::fs::set_permissions(&ca, std::fs::Permissions::from_mode(0o644)).unwrap();
        let dovecot = dovecot(folder.path(), &format!("ssl_client_ca_file = {}\n", ca.display()));
        let tls = format!("certificate = {:?}\nkey = {:?}\n", files.chain, files.key);
        let site = Site::with(dovecot.address(), NOTIFICATIONS, &tls);
        write_script(folder.path(), &[&format!("https://localhost:{}", site.admin.port())], &[]);
        poll_until_posed(&site, &dovecot, "alice");
        deliver_by_lmtp(&dovecot, &["alice"]);
        assert_eq!(dovecot.log_lines(&["Error", "reprieve", "alice"]).len(), lost);
        assert_eq!(site.poll("alice"), 1 - lost);
    }
}

#[test]
fn the_script_tries_the_next_url_and_never_fails_the_delivery() {
    let folder = folder();
    let dovecot = dovecot(folder.path(), "");
    let site = Site::in_front_of(dovecot.address());
    let nobody = format!("http://{}", crate::support::dovecot::free_address());
    // Accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    poll_until_posed(&site, &dovecot, "alice");
    write_script(folder.path(), &[&nobody, &silent, &url(&site), &nobody], &[]);
    let took = deliver_by_lmtp(&dovecot, &["alice"]);
    assert_eq!(site.poll("alice"), 1);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(dovecot.log_lines(&["Error"]), [""; 0], "one of the proxies has the signal");
    write_script(folder.path(), &[&nobody, &silent], &[]);
    let took = deliver_by_lmtp(&dovecot, &["alice"]);
    assert!(took < Duration::from_secs(5), "{took:?}");
    let errors = dovecot.log_lines(&["Error", "reprieve", "alice"]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains(&nobody) && errors[0].contains(&silent), "{errors:?}");
    assert!(!errors[0].contains(SIGNALS), "{errors:?}");
    // For proxies that do not share a store.
    let other = Site::in_front_of(dovecot.address());
    poll_until_posed(&site, &dovecot, "bob");
    poll_until_posed(&other, &dovecot, "bob");
    write_script(folder.path(), &[&url(&site), &url(&other)], &["--all"]);
    deliver_by_lmtp(&dovecot, &["bob"]);
    assert_eq!((site.poll("bob"), other.poll("bob")), (1, 1));
}
