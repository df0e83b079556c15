//! `[pool.NAME.new-mail]`: where a pool's signals of new mail come from.

use std::path::PathBuf;
use std::time::Duration;

use reprieve_settings::format::{boolean, duration, optional, path, table};
use reprieve_settings::{Error, Key, Location, Section, Table};

/// Sources of signals of new mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewMailConfig {
    /// HTTP, `reprieve ctl new-mail` and the socket.
    pub notifications: Option<NotificationsConfig>,
    /// A log file.
    pub log: Option<DeliveryLogConfig>,
    /// The systemd journal.
    pub journal: Option<JournalConfig>,
    /// How long after a signal a login may not see the message yet.
    pub settle: Duration,
    /// A lookup table from addresses in signals to the names of users.
    pub aliases: Option<PathBuf>,
    /// Where it is configured.
    pub location: Location,
}

impl NewMailConfig {
    /// Whether there is a source at all.
    #[must_use]
    pub fn has_source(&self) -> bool {
        self.notifications.is_some() || self.log.is_some() || self.journal.is_some()
    }

    /// Whether a source signals all deliveries.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.notifications.as_ref().is_some_and(|source| source.complete)
            || self.log.as_ref().is_some_and(|source| source.complete)
            || self.journal.as_ref().is_some_and(|source| source.complete)
    }
}

/// Signals over HTTP, by `reprieve ctl new-mail` and over the socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotificationsConfig {
    /// Whether all deliveries are signalled.
    pub complete: bool,
}

/// A log file with deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryLogConfig {
    /// The file.
    pub path: PathBuf,
    /// Whether all deliveries are in it.
    pub complete: bool,
    /// File in which the position is remembered; None for one in the state directory.
    pub position: Option<PathBuf>,
    /// Where it is configured.
    pub location: Location,
}

/// A systemd journal with deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalConfig {
    /// Directory of its files; the system's journal if None.
    pub directory: Option<PathBuf>,
    /// Whether all deliveries are in it.
    pub complete: bool,
    /// File in which the position is remembered; None for one in the state directory.
    pub position: Option<PathBuf>,
    /// Where it is configured.
    pub location: Location,
}

const COMPLETE: &str = "Whether this source signals every delivery to the pool's maildrops. Then the policy may let \
     users wait longer who have no new mail.";

impl Table for NewMailConfig {
    type Output = Self;

    fn defaults() -> Self {
        Self::default()
    }

    fn keys() -> Vec<Key<Self>> {
        vec![
            Key::new(
                "notifications",
                |new_mail: &mut Self| &mut new_mail.notifications,
                optional(table::<NotificationsConfig>()),
                "Signals over HTTP, by `reprieve ctl new-mail`, and over the socket.",
            ),
            Key::new(
                "log",
                |new_mail: &mut Self| &mut new_mail.log,
                optional(table::<DeliveryLogConfig>()),
                "A log file in which Postfix, Dovecot, Exim or Courier log deliveries.",
            ),
            Key::new(
                "journal",
                |new_mail: &mut Self| &mut new_mail.journal,
                optional(table::<JournalConfig>()),
                "The systemd journal, if deliveries are logged there.",
            ),
            Key::new(
                "settle",
                |new_mail: &mut Self| &mut new_mail.settle,
                duration(),
                "How long after its signal a message may be invisible to a new login, as on network file systems \
                 with caches. A login in this time does not count as having seen the message.",
            ),
            Key::new(
                "aliases",
                |new_mail: &mut Self| &mut new_mail.aliases,
                optional(path()),
                "Lookup table from names in signals to the user names at the mail server; several names are \
                 separated by commas. Names that are not in it are used unchanged.",
            )
            .example("\"/etc/reprieve/aliases\""),
        ]
    }

    fn build(self, section: &Section<'_, '_>) -> Result<Self, Error> {
        if !self.has_source() {
            return Err(section.error(
                "has no source of signals; set notifications = { complete = true }, log, or journal"
                    .to_owned(),
            ));
        }
        Ok(Self { location: section.location(), ..self })
    }
}

impl Table for NotificationsConfig {
    type Output = Self;

    fn defaults() -> Self {
        Self::default()
    }

    fn keys() -> Vec<Key<Self>> {
        vec![Key::new("complete", |source: &mut Self| &mut source.complete, boolean(), COMPLETE)]
    }

    fn build(self, _: &Section<'_, '_>) -> Result<Self, Error> {
        Ok(self)
    }
}

impl Table for DeliveryLogConfig {
    type Output = Self;

    fn defaults() -> Self {
        Self::default()
    }

    fn keys() -> Vec<Key<Self>> {
        vec![
            Key::new("path", |log: &mut Self| &mut log.path, path(), "The log file. It may be rotated.")
                .required("\"/var/log/mail.log\""),
            Key::new("complete", |log: &mut Self| &mut log.complete, boolean(), COMPLETE),
            Key::new(
                "position",
                |log: &mut Self| &mut log.position,
                optional(path()),
                "File in which Reprieve remembers how far it has read, so that a restart misses nothing.",
            )
            .default_text("a file in $STATE_DIRECTORY, which systemd sets, or in /var/lib/reprieve")
            .example("\"/var/lib/reprieve/log.position\""),
        ]
    }

    fn build(self, section: &Section<'_, '_>) -> Result<Self, Error> {
        Ok(Self { location: section.location(), ..self })
    }
}

impl Table for JournalConfig {
    type Output = Self;

    fn defaults() -> Self {
        Self::default()
    }

    fn keys() -> Vec<Key<Self>> {
        vec![
            Key::new(
                "directory",
                |journal: &mut Self| &mut journal.directory,
                optional(path()),
                "Directory of the journal's files.",
            )
            .default_text("the system's journal")
            .example("\"/var/log/journal/remote\""),
            Key::new("complete", |journal: &mut Self| &mut journal.complete, boolean(), COMPLETE),
            Key::new(
                "position",
                |journal: &mut Self| &mut journal.position,
                optional(path()),
                "File in which Reprieve remembers how far it has read, so that a restart misses nothing.",
            )
            .default_text("a file in $STATE_DIRECTORY, which systemd sets, or in /var/lib/reprieve")
            .example("\"/var/lib/reprieve/journal.position\""),
        ]
    }

    fn build(self, section: &Section<'_, '_>) -> Result<Self, Error> {
        Ok(Self { location: section.location(), ..self })
    }
}
