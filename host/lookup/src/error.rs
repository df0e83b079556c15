//! Why a file is not a table.

use std::path::Path;

use crate::{MAX_KEY, MAX_VALUE};

/// A file that cannot be used: its path, its line if it has lines, and the [`Problem`].
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct Error {
    place: String,
    problem: Problem,
}

impl Error {
    pub(crate) fn new(path: &Path, problem: Problem) -> Self {
        Self { place: path.display().to_string(), problem }
    }

    pub(crate) fn at_line(path: &Path, line: u64, problem: Problem) -> Self {
        Self { place: format!("{}:{line}", path.display()), problem }
    }

    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

/// What is wrong with a file, and what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum Problem {
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    #[error("cannot be written: {0}")]
    Unwritable(std::io::Error),
    #[error("is not a file")]
    NotAFile,
    #[error("is already a compiled table; compile the text that it was made from")]
    AlreadyCompiled,
    #[error("would be overwritten by its own compiled form; write that to another file (-o)")]
    SameFile,
    #[error("the key {key:?} is already on line {first}; remove one of the two lines")]
    Duplicate { key: String, first: u64 },
    #[error("has the key {0:?} twice")]
    DuplicateEntry(String),
    #[error("the key has {0} bytes; a key has at most {MAX_KEY}")]
    LongKey(usize),
    #[error("the value has {0} bytes; a value has at most {MAX_VALUE}")]
    LongValue(usize),
    #[error("the line is longer than a key and a value can be; is this a text file?")]
    LongLine,
    #[error("the line is not UTF-8; convert the file, for example with iconv -t utf-8")]
    NotUtf8,
    #[error("the line has a control character; is this a text file?")]
    ControlCharacter,
    #[error("is damaged ({0}); compile it again with `reprieve lookup compile`")]
    Damaged(&'static str),
    #[error(
        "has version {0} of the compiled form, which this version of Reprieve does not read; compile it \
         again with `reprieve lookup compile`"
    )]
    OtherVersion(u32),
}
