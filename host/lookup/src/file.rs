//! Tables in files: the form is recognised by the first bytes, not by the name.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::compiled::{MAGIC, Table};
use crate::error::{Error, Problem};
use crate::mapping::Mapping;
use crate::text;

/// Bytes that are read at a time.
const BUFFER: usize = 1 << 20;

/// The two forms of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line for each key.
    Text,
    /// What [`compile`] makes of it.
    Compiled,
}

/// Reads a table in either form.
///
/// # Errors
/// The first mistake in the text, or why the compiled form cannot be used.
pub fn read(path: &Path) -> Result<(Table, Form), Error> {
    let error = |problem| Error::new(path, problem);
    let (file, form) = open(path)?;
    match form {
        Form::Text => Ok((text::parse(BufReader::with_capacity(BUFFER, file), path)?, form)),
        Form::Compiled => {
            let mapping = Mapping::of(&file).map_err(|cause| error(Problem::Unreadable(cause)))?;
            Ok((Table::from_mapping(mapping).map_err(error)?, form))
        }
    }
}

/// Compiles a text into a file, which is replaced as a whole: a program that uses the old file keeps
/// it. Returns the new table.
///
/// # Errors
/// The first mistake in the text, or why the file cannot be written.
pub fn compile(source: &Path, target: &Path) -> Result<Table, Error> {
    let (file, form) = open(source)?;
    if form == Form::Compiled {
        return Err(Error::new(source, Problem::AlreadyCompiled));
    }
    let metadata = file.metadata().map_err(|cause| Error::new(source, Problem::Unreadable(cause)))?;
    let is_source = |other: std::fs::Metadata| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino());
    if std::fs::metadata(target).is_ok_and(is_source) {
        return Err(Error::new(target, Problem::SameFile));
    }
    let table = text::parse(BufReader::with_capacity(BUFFER, file), source)?;
    replace(target, table.as_bytes()).map_err(|cause| Error::new(target, Problem::Unwritable(cause)))?;
    Ok(table)
}

/// Opens a file, and looks at its first bytes.
fn open(path: &Path) -> Result<(File, Form), Error> {
    let error = |cause| Error::new(path, Problem::Unreadable(cause));
    // Opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(error)?.is_file() {
        return Err(Error::new(path, Problem::NotAFile));
    }
    let mut file = File::open(path).map_err(error)?;
    let mut first = Vec::new();
    (&mut file).take(MAGIC.len() as u64).read_to_end(&mut first).map_err(error)?;
    file.rewind().map_err(error)?;
    Ok((file, if first == MAGIC { Form::Compiled } else { Form::Text }))
}

/// Writes a file beside the target and renames it.
fn replace(target: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let unfinished: PathBuf = target.with_file_name(name);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, target)
    };
    let written = write();
    if written.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}
