//! Local delivery for clients that leave it to another program.

use std::fs;
use std::path::{Path, PathBuf};

use super::files_in;

/// A delivery agent that puts each message into a file of its own.
pub struct Delivery {
    folder: PathBuf,
    script: PathBuf,
}

impl Delivery {
    /// Installs the agent in a client's home.
    pub fn at(home: &Path) -> Self {
        let (folder, script) = (home.join("delivered"), home.join("deliver"));
        fs::create_dir(&folder).expect("a folder");
        let text = format!("set -e\nfile=$(mktemp '{}/XXXXXXXX')\ncat > \"$file\"\n", folder.display());
        fs::write(&script, text).expect("a script");
        Self { folder, script }
    }

    /// The script that `/bin/sh` must be given to deliver a message from standard input.
    pub fn script(&self) -> std::path::Display<'_> {
        self.script.display()
    }

    /// How many messages have been delivered.
    pub fn count(&self) -> usize {
        files_in(&self.folder)
    }
}
