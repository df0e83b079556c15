//! The recipes of docs/new-mail.md, with the real programs.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reprieve_mailserver::MailServer;

use super::{NOTIFICATIONS, Site, mail_server};
use crate::support::running::BINARY;
use crate::support::tool::Tool;
use crate::support::until;

const PAGE: &str = include_str!("../../../docs/new-mail.md");
/// Larger than the buffer of a pipe: no recipe may fail because nobody reads the message.
const MESSAGE_BYTES: usize = 1 << 20;

/// A site with a socket for signals, and the home of a user.
struct Deliveries {
    site: Site,
    _mail: MailServer,
    folder: tempfile::TempDir,
}

impl Deliveries {
    fn start() -> Self {
        let mail = mail_server(0);
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let socket = format!("new-mail-socket = {:?}", folder.path().join("new-mail.sock"));
        Self { site: Site::with(mail.address(), NOTIFICATIONS, &socket), _mail: mail, folder }
    }

    /// Writes the recipe below a heading of the page to a file.
    fn recipe(&self, heading: &str) -> PathBuf {
        let section = PAGE.split(&format!("\n### {heading}\n")).nth(1).expect("a section of the page");
        let text = section.split("```").nth(1).expect("a recipe");
        let text = text.split_once('\n').expect("a recipe").1;
        let socket = self.folder.path().join("new-mail.sock");
        let text = text
            .replace("/usr/bin/reprieve", BINARY)
            .replace("/run/reprieve/new-mail.sock", socket.to_str().unwrap())
            // Programs take it from the list of users.
            .replace("$HOME", self.folder.path().to_str().unwrap());
        let file = self.folder.path().join("recipe");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
        file
    }

    fn maildir(&self) -> PathBuf {
        self.folder.path().join("Maildir")
    }

    /// Runs a program that delivers a message, and checks that it is stored once and signalled.
    #[track_caller]
    fn check(&self, command: &mut Command) {
        for part in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(self.maildir().join(part)).unwrap();
        }
        let signals = || self.site.metric("reprieve_new_mail_signals", "source=\"socket\"");
        let before = (signals(), messages(&self.maildir()));
        let command = command.env("HOME", self.folder.path()).env("LOGNAME", "alice");
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a program");
        let message = format!("Subject: new\n\n{}\n", "x".repeat(MESSAGE_BYTES));
        child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(messages(&self.maildir()), before.1 + 1, "{output:?}");
        until("the signal has arrived", || signals() == before.0 + 1.0);
    }
}

fn messages(maildir: &Path) -> usize {
    std::fs::read_dir(maildir.join("new")).unwrap().count()
}

#[test]
fn maildrop_signals_after_it_has_delivered() {
    let deliveries = Deliveries::start();
    let filter = deliveries.recipe("maildrop");
    let maildrop = Tool { program: "maildrop", package: "maildrop" };
    deliveries.check(maildrop.command().arg(&filter));
    // The message is stored, so a lost signal does not make the delivery fail.
    std::fs::remove_file(deliveries.folder.path().join("new-mail.sock")).unwrap();
    let mut child = maildrop
        .command()
        .arg(&filter)
        .env("HOME", deliveries.folder.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"Subject: new\n\nnew\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(messages(&deliveries.maildir()), 2);
}

#[test]
fn procmail_signals_after_it_has_delivered() {
    let deliveries = Deliveries::start();
    let recipe = deliveries.recipe("procmail");
    let text = std::fs::read_to_string(&recipe).unwrap();
    std::fs::write(&recipe, format!("DEFAULT={}/\n{text}", deliveries.maildir().display())).unwrap();
    let procmail = Tool { program: "procmail", package: "procmail" };
    deliveries.check(procmail.command().arg("-m").arg(&recipe));
}

#[test]
fn a_wrapper_signals_after_any_program_has_delivered() {
    let deliveries = Deliveries::start();
    let wrapper = deliveries.recipe("Postfix: `pipe` and `mailbox_command`");
    let store = format!("cat > {}/new/$$", deliveries.maildir().display());
    deliveries.check(Command::new(&wrapper).args(["alice", "sh", "-c", &store]));
    // The exit code of the delivery tells Postfix to try again; nothing is signalled.
    let status = Command::new(&wrapper).args(["alice", "sh", "-c", "exit 75"]).status().unwrap();
    assert_eq!(status.code(), Some(75));
    assert_eq!(deliveries.site.metric("reprieve_new_mail_signals", "source=\"socket\""), 1.0);
}
