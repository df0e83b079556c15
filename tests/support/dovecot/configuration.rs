//! Dovecot's configuration and password file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::support::certificates::Files;
use crate::support::unprivileged::UnprivilegedUser;

/// File name of a log that is not written to standard error.
pub(super) const LOG: &str = "mail.log";

/// Features of a server beyond plain passwords.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// SASL mechanisms in addition to PLAIN and LOGIN.
    pub mechanisms: &'static str,
    /// The master user and their password.
    pub master: Option<(&'static str, &'static str)>,
    /// Whether XCLIENT is accepted from this machine.
    pub xclient: bool,
    /// Implicit TLS, and STLS at the cleartext address.
    pub tls: Option<Tls>,
    /// Delivery by LMTP and LDA, and IMAP, with signals of new mail.
    pub new_mail: Option<NewMail>,
    /// Whether it logs to a file of its own, for programs that follow it.
    pub logs_to_file: bool,
    /// More settings.
    pub settings: &'static str,
    /// Address for connections that begin with a PROXY header; set at the start.
    pub proxied: Option<SocketAddr>,
}

/// Settings for signals of new mail, and where mail is delivered.
#[derive(Clone, Debug)]
pub struct NewMail {
    /// The value of `push_notification_driver`; empty for none.
    pub driver: String,
    /// More settings.
    pub settings: String,
    /// Addresses of LMTP and IMAP; set at the start.
    pub lmtp: SocketAddr,
    pub imap: SocketAddr,
}

impl NewMail {
    /// Signals by a driver of the plugin `push_notification`.
    pub fn by(driver: String) -> Self {
        let unset = ([127, 0, 0, 1], 0).into();
        Self { driver, settings: String::new(), lmtp: unset, imap: unset }
    }

    fn text(&self) -> String {
        let plugins = match self.driver.as_str() {
            "" => "",
            _ => "notify mail_lua push_notification push_notification_lua",
        };
        let protocols: String = ["lmtp", "lda", "imap"]
            .iter()
            .map(|protocol| format!("protocol {protocol} {{\n  mail_plugins = $mail_plugins {plugins}\n}}\n"))
            .collect();
        let (driver, settings, lmtp, imap) =
            (&self.driver, &self.settings, self.lmtp.port(), self.imap.port());
        format!(
            r#"
postmaster_address = postmaster@example.org
lda_mailbox_autocreate = yes
{protocols}
plugin {{
  push_notification_driver = {driver}
}}
{settings}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"#
        )
    }
}

/// A server's TLS settings.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate and key.
    pub files: Files,
    pub address: SocketAddr,
}

impl Tls {
    /// TLS with a certificate.
    pub fn with(files: Files) -> Self {
        Self { files, address: ([127, 0, 0, 1], 0).into() }
    }
}

impl Features {
    fn text(&self, folder: &Path) -> String {
        let mut text = match &self.tls {
            None => "ssl = no\n".to_owned(),
            Some(tls) => {
                let (chain, key) = (tls.files.chain.display(), tls.files.key.display());
                format!("ssl = yes\nssl_cert = <{chain}\nssl_key = <{key}\n")
            }
        };
        if self.xclient {
            text.push_str("login_trusted_networks = 127.0.0.0/8\n");
        }
        text.push_str("haproxy_trusted_networks = 127.0.0.0/8\n");
        text.push_str(self.settings);
        if let Some(new_mail) = &self.new_mail {
            text.push_str(&new_mail.text());
        }
        if let Some((master, password)) = self.master {
            let file = folder.join("masters");
            fs::write(&file, format!("{master}:{{PLAIN}}{password}::::::\n")).expect("the masters' file");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("permissions of a file");
            write!(
                text,
                "auth_master_user_separator = *\npassdb {{\n  driver = passwd-file\n  args = {}\n  master = yes\n  result_success = continue\n}}\n",
                file.display()
            )
            .expect("writing to a string");
        }
        text
    }
}

/// Writes the configuration of a server that keeps everything in `folder`; returns its path.
pub(super) fn write(
    folder: &Path,
    address: SocketAddr,
    owner: Option<UnprivilegedUser>,
    features: &Features,
) -> PathBuf {
    let file = folder.join("dovecot.conf");
    fs::write(&file, text(folder, address, owner, features)).expect("dovecot's configuration");
    file
}

/// Replaces the password file in one step.
pub(super) fn write_passwords(folder: &Path, users: &BTreeMap<String, String>) {
    let mut text = String::new();
    for (user, password) in users {
        assert!(!password.contains(':'), "the password file's fields end at a colon");
        writeln!(text, "{user}:{{PLAIN}}{password}::::::").expect("writing to a string");
    }
    let aside = folder.join("users.new");
    fs::write(&aside, text).expect("the password file");
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o644)).expect("permissions of a file");
    fs::rename(&aside, folder.join("users")).expect("the password file");
}

/// The main part: no delay after a wrong password, and no penalty for the address.
fn text(folder: &Path, address: SocketAddr, owner: Option<UnprivilegedUser>, features: &Features) -> String {
    let extra = features.text(folder);
    let (tls_port, proxied_port) = (
        features.tls.as_ref().map_or(0, |tls| tls.address.port()),
        features.proxied.map_or(0, |at| at.port()),
    );
    let folder = folder.display();
    let (ip, port) = (address.ip(), address.port());
    // Without root, all processes run as the caller, and chroot is not possible.
    let (mail_user, without_root, no_chroot) = match owner {
        Some(UnprivilegedUser { uid, gid }) => (format!("uid={uid} gid={gid}"), String::new(), ""),
        None => {
            let ours = fs::metadata("/proc/self").expect("this process");
            let (uid, gid) = (ours.uid(), ours.gid());
            let (user, group) = (name_of(uid, "/etc/passwd"), name_of(gid, "/etc/group"));
            let internal = format!(
                "default_internal_user = {user}\n\
                 default_internal_group = {group}\n\
                 default_login_user = {user}\n"
            );
            (format!("uid={uid} gid={gid}"), internal, "chroot =")
        }
    };
    let mechanisms = features.mechanisms;
    let log = if features.logs_to_file { format!("{folder}/{LOG}") } else { "/dev/stderr".to_owned() };
    let protocols = if features.new_mail.is_some() { "pop3 lmtp imap" } else { "pop3" };
    format!(
        r#"
base_dir = {folder}/base
state_dir = {folder}/state
log_path = {log}
log_timestamp = "%Y-%m-%d %H:%M:%S.%{{usecs}} "
protocols = {protocols}
listen = {ip}
login_greeting = Dovecot ready.
disable_plaintext_auth = no
auth_mechanisms = plain login {mechanisms}
{extra}
auth_failure_delay = 0
mail_max_userip_connections = 0
mail_location = maildir:~/Maildir
first_valid_uid = 1
{without_root}
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = {mail_user} home={folder}/mail/%u
}}
service anvil {{
  {no_chroot}
  # A mode of 0 turns off the waiting after failed logins from one address.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service pop3-login {{
  {no_chroot}
  # One process for all connections: its lines are in the log in the order in which things happened.
  service_count = 0
  process_limit = 1
  process_min_avail = 1
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = {tls_port}
    ssl = yes
  }}
  inet_listener pop3-proxied {{
    port = {proxied_port}
    haproxy = yes
  }}
}}
"#
    )
}

/// The name of an id in /etc/passwd or /etc/group.
fn name_of(id: u32, list: &str) -> String {
    let names = fs::read_to_string(list).expect("the system's users and groups");
    let id = id.to_string();
    let named = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    };
    names.lines().find_map(named).unwrap_or_else(|| panic!("{list} has no name for {id}"))
}
