//! Signals of new mail: a login passes if the user has new mail, and is posed otherwise.

mod cost;
mod dead_store;
mod delivery;
mod dovecot;
mod dovecot_histories;
mod histories;
mod history;
mod http;
mod log;
mod recipes;
mod takeover;

use std::net::SocketAddr;

use reprieve_mailserver::MailServer;

use crate::support::account::{Account, PASSWORD, Security};
use crate::support::dialogue::Dialogue;
use crate::support::http::ask_at;
use crate::support::running::Running;
use crate::support::{mail_server, write_secret};

/// The token for signals.
const SIGNALS: &str = "a-token-for-signals-0123456789";
const ADMIN: &str = "a-token-for-administrators-0123";
const READ: &str = "a-token-for-readers-0123456789";

/// Configuration of a pool whose signals come by HTTP, `ctl` and the socket.
const NOTIFICATIONS: &str = "[pool.mail.new-mail]\nnotifications = { complete = true }\n";

/// Reprieve in front of one mail server, with a policy that lets a user through once per hour.
struct Site {
    reprieve: Running,
    pop3: SocketAddr,
    admin: SocketAddr,
    folder: tempfile::TempDir,
}

impl Site {
    fn in_front_of(backend: SocketAddr) -> Self {
        Self::with(backend, NOTIFICATIONS, "")
    }

    /// `new_mail`: the pool's table of sources. `admin`: more lines of that table.
    fn with(backend: SocketAddr, new_mail: &str, admin: &str) -> Self {
        let policy = "policy = { settings = { interval = \"1h\", reset = \"never\" } }";
        Self::with_policy(backend, new_mail, admin, policy)
    }

    /// `policy`: a line of the virtual server.
    fn with_policy(backend: SocketAddr, new_mail: &str, admin: &str, policy: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            write_secret(&path, text);
            path
        };
        let text = format!(
            r#"
policy-cache = "off"
[admin]
socket = {socket:?}
listen = ["127.0.0.1:0"]
token-file = {:?}
read-token-file = {:?}
new-mail-token-file = {:?}
{admin}
[[virtual-server]]
name = "pop3"
listen = ["127.0.0.1:0"]
pool = "mail"
{policy}
[pool.mail]
nodes = ["{backend}"]
health-check = "off"
{new_mail}
"#,
            file("admin.token", ADMIN),
            file("read.token", READ),
            file("signals.token", SIGNALS),
            socket = folder.path().join("admin.sock"),
        );
        let mut reprieve = Running::with_configuration(folder.path(), &text);
        let pop3 = reprieve.address();
        let line: serde_json::Value = serde_json::from_str(&reprieve.line_with("dashboard")).unwrap();
        let url = line["url"].as_str().unwrap();
        let admin = url.split("//").nth(1).unwrap().trim_end_matches('/').parse().unwrap();
        Self { reprieve, pop3, admin, folder }
    }

    fn account(&self, user: &str) -> Account {
        let (user, password) = (user.to_owned(), PASSWORD.to_owned());
        Account { server: self.pop3, user, password, security: Security::Cleartext }
    }

    fn metrics(&self) -> String {
        let token = format!("Authorization: Bearer {ADMIN}");
        ask_at(self.admin, "GET /metrics", &[&token], "").unwrap().body
    }

    /// The sum of a metric's samples with this label.
    fn metric(&self, name: &str, label: &str) -> f64 {
        let metrics = self.metrics();
        let samples = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Number of messages that the user's next login shows.
    fn poll(&self, user: &str) -> usize {
        let mut session = Dialogue::log_in(&self.account(user));
        let messages = session.lines("UIDL").len();
        session.quit();
        messages
    }
}

/// A mail server with the user `alice`, and a site whose next login of hers is posed.
fn with_alice() -> (MailServer, Site) {
    let mail = mail_server(1);
    let site = Site::in_front_of(mail.address());
    poll_until_posed(&site, &mail, "alice");
    (mail, site)
}

/// A user's first logins pass: nothing is known about their mail before.
#[track_caller]
fn poll_until_posed(site: &Site, mail: &MailServer, user: &str) {
    for _ in 0..4 {
        let before = mail.logins(user);
        site.poll(user);
        if mail.logins(user) == before {
            return;
        }
    }
    panic!("all logins of {user} pass");
}

/// Checks that a message that arrives is shown after `signal`, and that the login after that is posed.
#[track_caller]
fn check_signal(site: &Site, mail: &MailServer, user: &str, signal: impl FnOnce()) {
    let messages = mail.messages(user).len();
    mail.deliver(user, format!("Subject: {messages}\r\n\r\nnew\r\n").as_bytes());
    assert_eq!(site.poll(user), messages, "without a signal the login is posed");
    let logins = mail.logins(user);
    signal();
    assert_eq!(site.poll(user), messages + 1, "the signal lets the login pass");
    assert_eq!(site.poll(user), messages + 1);
    assert_eq!(mail.logins(user), logins + 1, "one signal lets one login pass");
}
