//! Programs of the system: a missing one is reported with the package that has it, and none runs
//! longer than the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::DEADLINE;
use super::unprivileged::UnprivilegedUser;

/// Where programs are looked for, so that a test does not depend on the caller's PATH.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// A program of the system.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// File name.
    pub program: &'static str,
    /// Debian package that contains it.
    pub package: &'static str,
}

/// The exit code and the output of a program.
#[derive(Debug)]
pub struct Ending {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard output and error, for the message of a failing test.
    pub said: String,
}

impl Tool {
    /// Path of the program. Panics with the command that installs it if it is missing.
    #[track_caller]
    pub fn path(self) -> PathBuf {
        let found =
            PATH.split(':').map(|folder| Path::new(folder).join(self.program)).find(|path| path.exists());
        found.unwrap_or_else(|| {
            panic!("{} is not installed; install it with: apt-get install {}", self.program, self.package)
        })
    }

    /// A command for the program. The process is terminated when the thread that starts it exits.
    #[track_caller]
    pub fn command(self) -> Command {
        self.command_as(None)
    }

    #[track_caller]
    fn command_as(self, user: Option<UnprivilegedUser>) -> Command {
        let path = self.path();
        let mut command = Command::new(SETPRIV.path());
        if let Some(UnprivilegedUser { uid, gid }) = user {
            command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
        }
        command.args(["--pdeathsig", "TERM"]).arg(path).stdin(Stdio::null());
        command
    }

    /// Runs the program in `home` as an unprivileged user, without the caller's environment.
    ///
    /// Panics if the program does not exit in time; it is then killed with its children.
    #[track_caller]
    pub fn run<I: AsRef<std::ffi::OsStr>>(
        self,
        home: &Path,
        arguments: impl IntoIterator<Item = I>,
    ) -> Ending {
        let user = UnprivilegedUser::instead_of_root();
        if let Some(user) = user {
            user.own_all(home);
        }
        let mut command = TIMEOUT.command_as(user);
        command
            .arg("--kill-after=5")
            .arg(DEADLINE.as_secs().to_string())
            .arg(self.path())
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", home)
            .env("LC_ALL", "C")
            .env("TERM", "xterm")
            .current_dir(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{} does not start: {error}", self.program));
        // Stays open until the program exits: some take the end of their input for a command.
        let stdin = child.stdin.take();
        let output = child.wait_with_output().expect("output of a started program");
        drop(stdin);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
        match output.status.code() {
            Some(TIMED_OUT | TIMED_OUT_AND_KILLED) => panic!("{} hung; it said:\n{said}", self.program),
            Some(code) => Ending { code, stdout, said },
            None => panic!("{} was ended by a signal ({}); it said:\n{said}", self.program, output.status),
        }
    }
}

const SETPRIV: Tool = Tool { program: "setpriv", package: "util-linux" };
const TIMEOUT: Tool = Tool { program: "timeout", package: "coreutils" };

/// Exit codes of `timeout` after it terminated the program, and after it killed it.
const TIMED_OUT: i32 = 124;
const TIMED_OUT_AND_KILLED: i32 = 137;
