//! The decision log: where its lines go, and what they say of users.

use std::path::PathBuf;

use reprieve_settings::Location;
use reprieve_settings::{Error, Section, Value};

/// Where journald takes entries.
const JOURNALD: &str = "/run/systemd/journal/socket";
/// What a line may take at the most, so that the buffer has room for some.
const LEAST_BUFFER: u64 = 64 << 10;

/// The decision log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionLogConfig {
    /// Where lines go.
    pub target: LogTarget,
    /// What they say of users.
    pub users: LogUsers,
    /// Octets of lines that may wait to be written.
    pub buffer: u64,
    /// Where it is configured.
    pub location: Location,
}

/// Where the lines of the decision log go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Into a file.
    File {
        /// The file.
        path: PathBuf,
        /// When Reprieve begins a new one; never without it.
        rotation: Option<Rotation>,
    },
    /// To journald.
    Journald {
        /// Its socket.
        socket: PathBuf,
    },
}

/// When a new file is begun, and what becomes of the old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Octets that a file has at the most.
    pub size: u64,
    /// Old files that are kept.
    pub keep: u32,
    /// Whether they are compressed, by zstd.
    pub compress: bool,
}

/// What the decision log says of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogUsers {
    /// Their names.
    Plain,
    /// Keyed hashes of their names.
    Hashed {
        /// The file whose first line is the key.
        key_file: PathBuf,
    },
}

/// Reads the section.
pub(super) fn decision_log(value: &Value<'_, '_>) -> Result<DecisionLogConfig, Error> {
    let mut section = value.section()?;
    let target = target(&mut section)?;
    let hashed = section.get("users").map(|users| users.choice(&[("plain", false), ("hashed", true)]));
    let users = if hashed.transpose()?.unwrap_or(false) {
        let example = "\"/etc/reprieve/decision-log.key\", made by: openssl rand -base64 32";
        LogUsers::Hashed { key_file: section.required("hash-key-file", example)?.path()? }
    } else {
        if let Some(key) = section.get("hash-key-file") {
            return Err(key.error("is for hashed names: set `users` to \"hashed\""));
        }
        LogUsers::Plain
    };
    let mut buffer = 8 << 20;
    if let Some(value) = section.get("buffer") {
        buffer = value.size()?;
        if !(LEAST_BUFFER..=1 << 30).contains(&buffer) {
            return Err(value.error("must be from \"64KiB\" to \"1GiB\""));
        }
    }
    section.finish()?;
    Ok(DecisionLogConfig { target, users, buffer, location: value.location() })
}

fn target(section: &mut Section<'_, '_>) -> Result<LogTarget, Error> {
    if let Some(journald) = section.get("journald") {
        // The socket of a journal of one's own (LogNamespace=) is said in full.
        let socket = match (journald.boolean(), journald.path()) {
            (Ok(true), _) => Some(JOURNALD.into()),
            (Ok(false), _) => None,
            (Err(_), Ok(path)) => Some(path),
            (Err(_), Err(_)) => {
                return Err(journald.expected("true, or the path of a journal's socket"));
            }
        };
        if let Some(socket) = socket {
            for key in ["path", "rotate-size", "keep", "compress"] {
                if let Some(value) = section.get(key) {
                    return Err(value.error("is for a file, and cannot stand beside `journald`"));
                }
            }
            return Ok(LogTarget::Journald { socket });
        }
    }
    let path = section.required("path", "\"/var/log/reprieve/decisions.jsonl\"")?.path()?;
    let mut rotation = Rotation { size: 100 << 20, keep: 7, compress: false };
    let size = section.get("rotate-size");
    let is_off = size.as_ref().is_some_and(|size| size.text() == Ok("off"));
    if let Some(size) = size.filter(|_| !is_off) {
        rotation.size = size.size().map_err(|_| size.expected("a size such as \"100MiB\", or \"off\""))?;
        if rotation.size < 4 << 10 {
            return Err(size.error("must be at least \"4KiB\""));
        }
    }
    if let Some(keep) = section.get("keep") {
        rotation.keep = keep.count_u32(0, 10_000)?;
        if is_off {
            return Err(keep.error("is for files that Reprieve rotates itself: `rotate-size` is \"off\""));
        }
    }
    if let Some(compress) = section.get("compress") {
        rotation.compress = compress.choice(&[("off", false), ("zstd", true)])?;
        if is_off {
            return Err(compress.error("is for files that Reprieve rotates itself: `rotate-size` is \"off\""));
        }
    }
    Ok(LogTarget::File { path, rotation: (!is_off).then_some(rotation) })
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
    fn a_file_rotates_at_100_mib_unless_told_otherwise() {
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
    fn journald_has_a_usual_socket_and_may_have_another() {
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
            ("path = \"d\"\nrotatesize = \"1MiB\"", ["reprieve.toml:4", "not known", "`rotate-size`"]),
        ] {
            let error = read(&format!("[decision-log]\n{log}")).unwrap_err();
            for part in expected {
                assert!(error.contains(part), "{error:?} lacks {part:?}");
            }
        }
    }
}
