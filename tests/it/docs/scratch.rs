//! A folder in which a block of commands finds what it names: configurations, certificates, logs,
//! a mail server, and Reprieve in front of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};

use reprieve_mailserver::MailServer;
use tempfile::TempDir;

use super::page::{Block, Page};
use crate::support::account::{Account, PASSWORD, Security};
use crate::support::certificates::{Age, Authority};
use crate::support::dialogue::Dialogue;
use crate::support::running::{BINARY, Running};
use crate::support::{mail_server, write_secret};

/// What a part of a configuration is completed by.
const SERVER: &str = "[[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\n";
const POOL: &str = "[pool.mail]\nnodes = [\"127.0.0.1:110\"]\n";
/// Folders that pages name; they are looked for below the scratch folder.
const FOLDERS: [&str; 7] = [
    "/etc/reprieve",
    "/etc/letsencrypt/live/mail.example",
    "/etc/other",
    "/run/reprieve",
    "/var/lib/reprieve",
    "/var/log/reprieve",
    "/var/log",
];

pub(super) struct Scratch {
    folder: TempDir,
    mail: MailServer,
    /// Reprieve, if the set-up has it running.
    reprieve: Option<Running>,
    /// What the pages' addresses stand for here.
    served: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

impl Scratch {
    /// `setup`: the name in the block's directive.
    pub fn new(setup: &str, page: &Page, block: &Block) -> Self {
        let mut scratch = Self {
            folder: tempfile::tempdir().expect("a folder"),
            mail: mail_server(2),
            reprieve: None,
            served: None,
            admin: None,
        };
        scratch.write_files();
        match setup {
            "plain" => {}
            "configuration" => scratch.write("reprieve.toml", &configuration_for(page, block)),
            "mail-log" => {
                scratch.write("var/log/mail.log", &dovecot_log());
                scratch.log_decisions();
            }
            "decision-log" => scratch.log_decisions(),
            "running" | "take-over" => scratch.serve(CONTROLLED),
            "running-with-signals" => scratch.serve(&format!("{CONTROLLED}{SIGNALS}")),
            "serving" => scratch.serve(&format!("{SERVER}{POOL}")),
            other => panic!("{}:{}: no set-up is called {other}", page.name(), block.line),
        }
        scratch
    }

    /// Runs a block: `reprieve run` until it serves, anything else to its end, which must be good.
    pub fn run(&mut self, block: &Block) {
        for command in block.commands() {
            if command.starts_with("reprieve run ") {
                self.run_until_it_serves(&command);
            } else {
                let output = self.bash(&command);
                assert!(output.status.success(), "line {}: {command}: {}", block.line, said(&output));
            }
        }
    }

    /// Has `reprieve check` look at a configuration, completed if it is a part.
    pub fn check(&self, block: &Block) {
        let (code, said) = self.check_text(&completed(&block.text));
        assert_eq!(code, Some(0), "line {}: {}\n{said}", block.line, block.text);
    }

    /// The exit code of `reprieve check` for this file, and what it prints.
    pub fn check_text(&self, configuration: &str) -> (Option<i32>, String) {
        self.write("reprieve.toml", configuration);
        let output = self.bash("reprieve check --config reprieve.toml");
        (output.status.code(), said(&output))
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        write_secret(&path, &self.here(text));
    }

    /// Files that configurations on the pages name.
    fn write_files(&self) {
        for folder in FOLDERS {
            std::fs::create_dir_all(self.folder.path().join(&folder[1..])).expect("a folder");
        }
        let authority = Authority::new();
        let server = authority.server("server", &["mail.example"], Age::Valid);
        let (chain, key) = (read(server.chain), read(server.key));
        for folder in ["", "etc/reprieve/", "etc/letsencrypt/live/mail.example/", "etc/other/"] {
            self.write(&format!("{folder}fullchain.pem"), &chain);
            self.write(&format!("{folder}privkey.pem"), &key);
        }
        for name in ["ca.pem", "users.pem"] {
            self.write(&format!("etc/reprieve/{name}"), &read(authority.file()));
        }
        let secrets = [
            "redis.password",
            "share.secret",
            "admin.token",
            "new-mail.token",
            "decision-log.key",
            "master.password",
        ];
        for name in secrets {
            self.write(&format!("etc/reprieve/{name}"), "a-secret-of-the-tests-0123456789\n");
        }
        for name in ["premium.txt", "plans.tbl"] {
            self.write(&format!("etc/reprieve/{name}"), "alice@example.com 2m\n");
        }
        self.write("admin.token", "a-secret-of-the-tests-0123456789\n");
    }

    /// A text of a page with the folders and addresses of this place.
    fn here(&self, text: &str) -> String {
        let below = self.folder.path().display().to_string();
        let mut text = text.to_owned();
        for folder in [
            "/etc/reprieve/",
            "/etc/letsencrypt/",
            "/etc/other/",
            "/run/reprieve/",
            "/var/lib/reprieve/",
            "/var/log/",
        ] {
            text = text.replace(folder, &format!("{below}{folder}"));
        }
        let free = || "127.0.0.1:0".to_owned();
        let served = self.served.map_or_else(free, |address| address.to_string());
        let admin = self.admin.map_or_else(free, |address| address.to_string());
        let mail = self.mail.address().to_string();
        for (page, here) in [
            ("127.0.0.1:1110", served.as_str()),
            ("127.0.0.1:8110", &admin),
            ("127.0.0.1:110", &mail),
            ("10.0.0.5:110", &mail),
            ("0.0.0.0:110", "127.0.0.1:0"),
            ("0.0.0.0:995", "127.0.0.1:0"),
            ("alice:secret", &format!("'alice:{PASSWORD}'")),
        ] {
            text = text.replace(page, here);
        }
        text
    }

    fn command(&self, program: &str) -> Command {
        let binaries = std::path::Path::new(BINARY).parent().expect("its folder").display();
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env("PATH", format!("{binaries}:/usr/local/bin:/usr/bin:/bin"))
            .env("REPRIEVE_SOCKET", self.folder.path().join("admin.sock"));
        command
    }

    fn bash(&self, command: &str) -> Output {
        let script = format!("set -euo pipefail\n{}", self.here(command));
        self.command("bash").args(["-c", &script]).output().expect("running bash")
    }

    fn run_until_it_serves(&mut self, command: &str) {
        let here = self.here(command);
        let arguments = here.split_whitespace().skip(1).chain(["--log-format", "json"]);
        let mut started = Running::spawn(self.command(BINARY).args(arguments));
        started.address();
        if let Some(before) = &mut self.reprieve {
            // It was taken over, and drains.
            assert_eq!(before.ended().code(), Some(0), "{command}");
        }
        started.signal("-TERM");
        assert_eq!(started.ended().code(), Some(0), "{command}");
    }

    /// Starts Reprieve and has alice log in twice.
    fn serve(&mut self, configuration: &str) {
        self.write("reprieve.toml", configuration);
        let arguments = ["run", "--config", "reprieve.toml", "--log-format", "json"];
        let mut reprieve = Running::spawn(self.command(BINARY).args(arguments));
        let server = reprieve.address();
        self.served = Some(server);
        if configuration.contains("127.0.0.1:8110") {
            let line = reprieve.line_with("\"url\"");
            let line: serde_json::Value = serde_json::from_str(&line).expect("a JSON line");
            let url = line["url"].as_str().expect("the dashboard's address").trim_matches('/');
            self.admin = Some(url.trim_start_matches("http://").parse().expect("an address"));
        }
        for _ in 0..2 {
            let (user, password) = ("alice".to_owned(), PASSWORD.to_owned());
            let mut session =
                Dialogue::log_in(&Account { server, user, password, security: Security::Cleartext });
            session.ok("STAT");
            session.quit();
        }
        self.reprieve = Some(reprieve);
    }

    /// Leaves a decision log of two sessions, and no process.
    fn log_decisions(&mut self) {
        self.serve(&format!("[decision-log]\npath = \"decisions.jsonl\"\n{SERVER}{POOL}"));
        let mut reprieve = self.reprieve.take().expect("it was started");
        reprieve.signal("-TERM");
        assert_eq!(reprieve.ended().code(), Some(0));
        self.served = None;
    }
}

/// A configuration that can be asked and told.
const CONTROLLED: &str = r#"
[admin]
socket = "admin.sock"
listen = ["127.0.0.1:8110"]
token-file = "admin.token"

[[virtual-server]]
name = "pop3"
listen = ["127.0.0.1:0"]
pool = "mail"

[pool.mail]
nodes = ["127.0.0.1:110", { address = "mail2.example:110", backup = true }]
health-check = "off"
"#;

/// What makes that server's pool expect signals of new mail.
const SIGNALS: &str = "\n[pool.mail.new-mail]\nnotifications = { complete = true }\n";

/// The configuration that a page shows before a block, or else the README's.
fn configuration_for(page: &Page, block: &Block) -> String {
    let before = |page: &Page, line| {
        let mut blocks = page.blocks("toml").into_iter();
        blocks.rfind(|other| other.line < line && other.text.contains("[[virtual-server]]"))
    };
    before(page, block.line)
        .or_else(|| before(&Page::read("README.md"), usize::MAX))
        .expect("a configuration")
        .text
}

/// A part of a configuration with what it lacks of a whole one.
fn completed(part: &str) -> String {
    let pool = if part.contains("[pool.") { "" } else { POOL };
    match (part.contains("[[virtual-server]]"), part.contains("[virtual-server.")) {
        (true, _) => format!("{part}{pool}"),
        (false, true) => format!("{SERVER}{part}{pool}"),
        (false, false) => format!("{part}{SERVER}{pool}"),
    }
}

/// A day of a mail server with a scanner that polls each minute.
fn dovecot_log() -> String {
    use std::fmt::Write as _;
    let mut log = String::new();
    for minute in 0..1440 {
        let user = if minute % 10 == 0 { "alice" } else { "scanner" };
        let (hours, minutes) = (minute / 60, minute % 60);
        writeln!(
            log,
            "Nov 26 {hours:02}:{minutes:02}:00 mx dovecot: pop3-login: Login: user=<{user}@example.org>, \
             method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, mpid=1, TLS, session=<{minute:012}>"
        )
        .expect("writing to a string");
    }
    log
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(path).expect("a file")
}

fn said(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    said.into_owned()
}

/// Holds a command's options against its help. Other programs than Reprieve are let be.
pub(super) fn check_options(command: &str, block: &Block) {
    for part in command.split(['|', '&', ';']) {
        let mut words = part.split_whitespace().skip_while(|word| *word == "sudo" || word.contains('='));
        if words.next() != Some("reprieve") {
            continue;
        }
        let words: Vec<_> = words.collect();
        let subcommand: Vec<_> = words
            .iter()
            .take_while(|word| !word.starts_with('-'))
            .take_while(|word| word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-'))
            .take(2)
            .collect();
        let help = |depth: usize| {
            let output = Command::new(BINARY)
                .args(&subcommand[..depth])
                .arg("--help")
                .output()
                .expect("running reprieve");
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let help = (0..=subcommand.len()).rev().find_map(help).expect("a help");
        for option in words.iter().filter_map(|word| word.strip_prefix("--")) {
            let option = option.split('=').next().unwrap_or(option);
            assert!(
                help.contains(&format!("--{option}")),
                "line {}: {command}: there is no --{option}",
                block.line
            );
        }
    }
}
