//! The decision log: where its records go, and how they name users.

use std::path::PathBuf;

use reprieve_settings::format::{Format, Type, count, custom, optional, or_off, path, size, word};
use reprieve_settings::{Error, Key, Location, Section, Table};

/// The socket of the system's journald.
const JOURNALD: &str = "/run/systemd/journal/socket";
/// The smallest buffer has room for a few records.
const MIN_BUFFER: u64 = 64 << 10;
const MAX_BUFFER: u64 = 1 << 30;

/// The decision log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionLogConfig {
    /// Where records go.
    pub target: LogTarget,
    /// How records name users.
    pub users: LogUsers,
    /// Bytes of records that may wait to be written.
    pub buffer: u64,
    /// Where it is configured.
    pub location: Location,
}

/// Where the records of the decision log go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// To a file.
    File {
        /// The file's path.
        path: PathBuf,
        /// When Reprieve starts a new file; `None` leaves it to another program.
        rotation: Option<Rotation>,
    },
    /// To journald.
    Journald {
        /// Its socket.
        socket: PathBuf,
    },
}

/// When a new file is started, and which old files are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Maximum bytes of a file.
    pub size: u64,
    /// Number of old files to keep.
    pub keep: u32,
    /// Whether old files are compressed by zstd.
    pub compress: bool,
}

/// How the decision log names users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogUsers {
    /// By their names.
    Plain,
    /// By keyed hashes of their names.
    Hashed {
        /// The file whose first line is the key.
        key_file: PathBuf,
    },
}

/// `[decision-log]`
pub(super) struct DecisionLogTable {
    path: PathBuf,
    journald: Option<PathBuf>,
    rotate_size: Option<u64>,
    keep: u32,
    compress: bool,
    hashed: bool,
    hash_key_file: Option<PathBuf>,
    buffer: u64,
}

impl Table for DecisionLogTable {
    type Output = DecisionLogConfig;

    fn defaults() -> Self {
        Self {
            path: PathBuf::new(),
            journald: None,
            rotate_size: Some(100 << 20),
            keep: 7,
            compress: false,
            hashed: false,
            hash_key_file: None,
            buffer: 8 << 20,
        }
    }

    fn keys() -> Vec<Key<Self>> {
        let mut keys = file_keys();
        keys.extend([
            Key::new(
                "journald",
                |log: &mut Self| &mut log.journald,
                journald_socket(),
                "Write to journald instead of a file: `true`, or the path of another journal's socket.",
            ),
            Key::new(
                "users",
                |log: &mut Self| &mut log.hashed,
                word(&[("plain", false), ("hashed", true)]),
                "How records name users: by their names, or by keyed hashes of their names.",
            )
            .example("\"hashed\""),
            Key::new(
                "hash-key-file",
                |log: &mut Self| &mut log.hash_key_file,
                optional(path()),
                "File whose first line, of 16 characters or more, is the key of the hashes.",
            )
            .only_with("users", "hashed")
            .required("\"/etc/reprieve/decision-log.key\" # openssl rand -base64 32"),
            Key::new(
                "buffer",
                |log: &mut Self| &mut log.buffer,
                size(MIN_BUFFER..=MAX_BUFFER),
                "Memory for records that wait to be written. If it is full, records are dropped.",
            ),
        ]);
        keys
    }

    fn build(self, section: &Section<'_, '_>) -> Result<DecisionLogConfig, Error> {
        let users = match self.hash_key_file {
            Some(key_file) => LogUsers::Hashed { key_file },
            None => LogUsers::Plain,
        };
        let target = match self.journald {
            Some(socket) => {
                reject_file_keys(section)?;
                LogTarget::Journald { socket }
            }
            None if self.path.as_os_str().is_empty() => {
                return Err(section.missing("path", "\"/var/log/reprieve/decisions.jsonl\""));
            }
            None => {
                if self.rotate_size.is_none() {
                    reject_rotation_keys(section)?;
                }
                let (keep, compress) = (self.keep, self.compress);
                let rotation = self.rotate_size.map(|size| Rotation { size, keep, compress });
                LogTarget::File { path: self.path, rotation }
            }
        };
        Ok(DecisionLogConfig { target, users, buffer: self.buffer, location: section.location() })
    }
}

fn file_keys() -> Vec<Key<DecisionLogTable>> {
    type Log = DecisionLogTable;
    vec![
        Key::new(
            "path",
            |log: &mut Log| &mut log.path,
            path(),
            "File that gets a line of JSON for each session. The user that Reprieve runs as must be able \
             to write to its directory.",
        )
        .default_text("required, unless `journald` is set")
        .example("\"/var/log/reprieve/decisions.jsonl\""),
        Key::new(
            "rotate-size",
            |log: &mut Log| &mut log.rotate_size,
            or_off(size(4 << 10..=u64::MAX)),
            "Size at which a new file is started. `\"off\"` leaves rotation to logrotate or a similar program.",
        ),
        Key::new("keep", |log: &mut Log| &mut log.keep, count(0..=10_000), "Number of old files to keep."),
        Key::new(
            "compress",
            |log: &mut Log| &mut log.compress,
            word(&[("off", false), ("zstd", true)]),
            "Compression of old files.",
        ),
    ]
}

fn reject_file_keys(section: &Section<'_, '_>) -> Result<(), Error> {
    match ["path", "rotate-size", "keep", "compress"].into_iter().find_map(|key| section.value(key)) {
        Some(value) => Err(value.error("is for a file, so it cannot stand beside `journald`")),
        None => Ok(()),
    }
}

fn reject_rotation_keys(section: &Section<'_, '_>) -> Result<(), Error> {
    match ["keep", "compress"].into_iter().find_map(|key| section.value(key)) {
        Some(value) => Err(value.error("is for files that Reprieve rotates, but `rotate-size` is \"off\"")),
        None => Ok(()),
    }
}

fn journald_socket() -> impl Format<Option<PathBuf>> {
    custom(
        Type::Either(vec![Type::Boolean, Type::String("path")]),
        |value| match (value.boolean(), value.path()) {
            (Ok(true), _) => Ok(Some(JOURNALD.into())),
            (Ok(false), _) => Ok(None),
            (Err(_), Ok(path)) => Ok(Some(path)),
            (Err(_), Err(_)) => Err(value.expected("true, or the path of a journal's socket")),
        },
        |socket| Some(socket.as_ref().map_or("false".to_owned(), |path| format!("{path:?}"))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(log: &str) -> Result<DecisionLogConfig, String> {
        let text = format!(
            "threads = 1\n{log}\n[pool.mail]\nnodes = [\"a:110\"]\n[[virtual-server]]\nname = \"one\"\n\
             listen = [\"127.0.0.1:110\"]\npool = \"mail\"\n"
        );
        let config = Config::parse(&text, "reprieve.toml").map_err(|error| error.to_string())?;
        config.decision_log.ok_or_else(|| "there is none".to_owned())
    }

    #[test]
    fn a_file_rotates_at_100_mib_by_default() {
        let log = read("decision-log = { path = \"/var/log/d.jsonl\" }").unwrap();
        let rotation = Some(Rotation { size: 100 << 20, keep: 7, compress: false });
        assert_eq!(log.target, LogTarget::File { path: "/var/log/d.jsonl".into(), rotation });
        assert_eq!((log.users, log.buffer, &*log.location), (LogUsers::Plain, 8 << 20, "reprieve.toml:2"));
        let log = read("[decision-log]\npath = \"d\"\nrotate-size = \"off\"").unwrap();
        assert_eq!(log.target, LogTarget::File { path: "d".into(), rotation: None });
        let log = read(
            "[decision-log]\npath = \"d\"\nrotate-size = \"1MiB\"\nkeep = 2\ncompress = \"zstd\"\n\
             users = \"hashed\"\nhash-key-file = \"key\"\nbuffer = \"64KiB\"",
        )
        .unwrap();
        let rotation = Some(Rotation { size: 1 << 20, keep: 2, compress: true });
        assert_eq!(log.target, LogTarget::File { path: "d".into(), rotation });
        assert_eq!((log.users, log.buffer), (LogUsers::Hashed { key_file: "key".into() }, 65_536));
    }

    #[test]
    fn journald_has_a_default_socket_and_can_have_another() {
        for (value, expected) in [("true", JOURNALD), ("\"/run/other\"", "/run/other")] {
            let log = read(&format!("decision-log = {{ journald = {value} }}")).unwrap();
            assert_eq!(log.target, LogTarget::Journald { socket: expected.into() });
        }
        let log = read("decision-log = { journald = false, path = \"d\" }").unwrap();
        assert!(matches!(log.target, LogTarget::File { .. }));
    }

    #[test]
    fn each_mistake_names_line_key_and_remedy() {
        for (log, expected) in [
            ("users = \"plain\"", ["reprieve.toml:2", "`decision-log.path` is missing", "decisions.jsonl"]),
            (
                "path = \"d\"\nusers = \"hashed\"",
                ["reprieve.toml:2", "hash-key-file` is missing", "openssl rand"],
            ),
            (
                "path = \"d\"\nhash-key-file = \"k\"",
                ["reprieve.toml:4", "decision-log.hash-key-file", "\"hashed\""],
            ),
            ("path = \"d\"\nusers = \"some\"", ["reprieve.toml:4", "decision-log.users", "\"plain\" or"]),
            ("path = \"d\"\nrotate-size = \"1B\"", ["reprieve.toml:4", "rotate-size", "4KiB"]),
            ("path = \"d\"\nrotate-size = 5", ["reprieve.toml:4", "rotate-size", "\"off\""]),
            ("path = \"d\"\nrotate-size = \"off\"\nkeep = 3", ["reprieve.toml:5", "keep", "rotate-size"]),
            ("path = \"d\"\njournald = true", ["reprieve.toml:3", "decision-log.path", "journald"]),
            ("journald = 5", ["reprieve.toml:3", "journald", "socket"]),
            ("path = \"d\"\nbuffer = \"1KiB\"", ["reprieve.toml:4", "buffer", "64KiB"]),
            ("path = \"d\"\nrotatesize = \"1MiB\"", ["reprieve.toml:4", "unknown key", "`rotate-size`"]),
        ] {
            let error = read(&format!("[decision-log]\n{log}")).unwrap_err();
            for part in expected {
                assert!(error.contains(part), "{error:?} lacks {part:?}");
            }
        }
    }
}
