//! Compiles components to machine code. A compiler's time and memory are not bounded by the size of
//! its input, so the binary compiles in a child process, which ends itself beyond a budget and
//! returns all of its memory to the system.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::component::Component;

use super::engine::{Engine, EngineSize, config};
use super::{diagnostics, digest};
use reprieve_metrics::cpu_time;

/// The first argument of the compiling process.
const COMMAND: &str = "compile-policy";
/// Bytes of an error message that it writes.
const LONGEST_ERROR: usize = 4096;
/// How often it checks its budget.
const LOOK: Duration = Duration::from_millis(20);
/// CPU time for any component, and per MiB of it. Compiling takes about a second per MiB on a slow
/// core.
const TIME: Duration = Duration::from_secs(15);
/// Memory for any component, and per byte of it. Real components need at most half of that.
const MEMORY: u64 = 512 << 20;
const MEMORY_PER_BYTE: u64 = 64;
const MIB: u64 = 1 << 20;

/// Whether this program calls [`compile_if_asked`] first. Other programs, such as tests, compile in
/// their own process.
static APART: AtomicBool = AtomicBool::new(false);
/// The program's file, as it was at the start.
static PROGRAM: OnceLock<(PathBuf, (u64, u64))> = OnceLock::new();

/// Compiles a component if this process was started for that. To be called first in `main`.
#[must_use]
pub fn compile_if_asked() -> Option<ExitCode> {
    APART.store(true, Ordering::Relaxed);
    if let Ok(path) = std::env::current_exe()
        && let Some(identity) = identity(&path)
    {
        let _ = PROGRAM.set((path, identity));
    }
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != COMMAND {
        return None;
    }
    let mut number = || arguments.next().and_then(|text| text.to_str()?.parse().ok()).unwrap_or_default();
    let size = EngineSize { memory: number(), stack: number(), instances: 1 };
    let budget = Budget { time: Duration::from_secs(number()), memory: number() };
    Some(match compile_standard_input(size, budget) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = write!(io::stderr(), "{}", &why[..why.floor_char_boundary(LONGEST_ERROR)]);
            ExitCode::FAILURE
        }
    })
}

fn compile_standard_input(size: EngineSize, budget: Budget) -> Result<(), String> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    budget.watch().map_err(|error| error.to_string())?;
    let engine = wasmtime::Engine::new(&config(size, false)).map_err(|error| format!("{error:#}"))?;
    let code = compile_here(&engine, &bytes)?;
    io::stdout().write_all(&code).map_err(|error| error.to_string())
}

fn compile_here(engine: &wasmtime::Engine, bytes: &[u8]) -> Result<Vec<u8>, String> {
    engine.precompile_component(bytes).map_err(|error| diagnostics::not_compiled(&format!("{error:#}")))
}

/// The budget for compiling a component.
#[derive(Clone, Copy, Debug)]
struct Budget {
    time: Duration,
    memory: u64,
}

impl Budget {
    fn of(bytes: usize) -> Self {
        let bytes = bytes as u64;
        let mib = u32::try_from(bytes / MIB).unwrap_or(u32::MAX);
        Self {
            time: TIME.saturating_mul(mib.saturating_add(1)),
            memory: bytes.saturating_mul(MEMORY_PER_BYTE).saturating_add(MEMORY),
        }
    }

    /// Ends this process when the budget is exceeded or the parent has gone.
    fn watch(self) -> io::Result<()> {
        let parent = std::os::unix::process::parent_id();
        let watch = move || {
            loop {
                std::thread::sleep(LOOK);
                let Self { time, memory } = self;
                if cpu_time::of_this_process() > time {
                    give_up(&format!(
                        "compiling it takes more than {} s of CPU time, the most for a component of its size",
                        time.as_secs()
                    ));
                }
                if resident().is_some_and(|resident| resident > memory) {
                    give_up(&format!(
                        "compiling it takes more than {} MiB of memory, the most for a component of its size",
                        memory / MIB
                    ));
                }
                if std::os::unix::process::parent_id() != parent {
                    give_up("");
                }
            }
        };
        std::thread::Builder::new().name("budget".to_owned()).spawn(watch).map(drop)
    }
}

/// Memory of this process in bytes.
fn resident() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: the call takes a number, changes nothing and cannot fail for this name.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages.saturating_mul(u64::try_from(page).unwrap_or(4096)))
}

fn give_up(why: &str) -> ! {
    let _ = write!(io::stderr(), "{why}");
    // SAFETY: the call only ends the process. Unlike `exit` it does not wait for other threads, which
    // may hold locks.
    unsafe { libc::_exit(1) }
}

/// Loads a component with this digest from the engine's cache, or compiles it if `check` permits.
pub(super) async fn component(
    engine: &Engine,
    bytes: &[u8],
    sha256: &[u8; 32],
    check: impl FnOnce() -> Result<(), String>,
) -> Result<Component, String> {
    let key = key(engine, sha256);
    if let Some(cache) = engine.cache()
        && let Some(component) = cache.get(&key, |code| load(engine, code.into_file().ok()?).ok())
    {
        return Ok(component);
    }
    check()?;
    let code = Code::new().map_err(|error| no_room(&error))?;
    let apart = match APART.load(Ordering::Relaxed) {
        true => compile_apart(engine.size(), bytes, &code).await,
        false => Err(io::ErrorKind::Unsupported.into()),
    };
    let (component, file) = match apart {
        Ok(compiled) => {
            compiled?;
            // Under an emulator the child may see a processor with more features than this process
            // sees. Then this process compiles; the child has shown that the budget suffices.
            loaded(engine, code).or_else(|_| compiled_here(engine, bytes))?
        }
        Err(error) => {
            if error.kind() != io::ErrorKind::Unsupported {
                tracing::warn!(%error, "cannot start a process to compile in; the policy is compiled without a memory limit");
            }
            compiled_here(engine, bytes)?
        }
    };
    if let Some(cache) = engine.cache() {
        cache.put(&key, &file);
    }
    Ok(component)
}

fn compiled_here(engine: &Engine, bytes: &[u8]) -> Result<(Component, File), String> {
    let mut code = Code::new().map_err(|error| no_room(&error))?;
    code.write_all(&compile_here(engine.wasmtime(), bytes)?).map_err(|error| no_room(&error))?;
    loaded(engine, code)
}

fn loaded(engine: &Engine, code: Code) -> Result<(Component, File), String> {
    let file = code.into_file().map_err(|error| no_room(&error))?;
    let copy = file.try_clone().map_err(|error| no_room(&error))?;
    Ok((load(engine, file)?, copy))
}

fn no_room(error: &io::Error) -> String {
    format!("there is no room for its machine code: {error}")
}

/// Machine code on its way to the engine, as an anonymous file that the engine maps. On the heap it
/// would leave many megabytes of unusable space.
#[derive(Debug)]
pub(super) struct Code(File);

impl Code {
    pub(super) fn new() -> io::Result<Self> {
        let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
        Ok(Self(nix::sys::memfd::memfd_create("policy", flags)?.into()))
    }

    /// The file, rewound.
    pub(super) fn into_file(mut self) -> io::Result<File> {
        self.0.rewind()?;
        Ok(self.0)
    }
}

impl io::Write for Code {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn load(engine: &Engine, file: File) -> Result<Component, String> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the code was made by this same program for an engine of this configuration, which the
    // call checks. It comes from the child process, or from a directory that no other user can write to
    // and with a matching digest. No other process has this file open.
    unsafe { Component::deserialize_file(engine.wasmtime(), path) }
        .map_err(|error| format!("its machine code cannot be loaded: {error:#}"))
}

/// The cache key, which depends on the component and on the engine.
fn key(engine: &Engine, sha256: &[u8; 32]) -> String {
    let mut hasher = DefaultHasher::new();
    engine.wasmtime().precompile_compatibility_hash().hash(&mut hasher);
    format!("{}-{:016x}", digest::hex(sha256), hasher.finish())
}

/// A child process that is killed when this is dropped.
struct Compiler(Child);

impl Drop for Compiler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The path of the running program, unless an upgrade has replaced the file.
fn program() -> &'static Path {
    match PROGRAM.get() {
        Some((path, known)) if identity(path).is_some_and(|found| found == *known) => path,
        _ => Path::new("/proc/self/exe"),
    }
}

/// Identity of a file: device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Compiles in a child process. The outer error: it cannot be started.
async fn compile_apart(size: EngineSize, bytes: &[u8], code: &Code) -> io::Result<Result<(), String>> {
    let Budget { time, memory } = Budget::of(bytes.len());
    let numbers = [size.memory, size.stack, time.as_secs(), memory];
    let mut compiler = Command::new(program())
        .arg(COMMAND)
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::piped())
        .stdout(code.0.try_clone()?)
        .stderr(Stdio::piped())
        .spawn()
        .map(Compiler)?;
    let (Some(mut stdin), Some(mut stderr)) = (compiler.0.stdin.take(), compiler.0.stderr.take()) else {
        return Err(io::Error::other("it has no pipes"));
    };
    let bytes = bytes.to_vec();
    let talk = move || {
        // A child that has given up stops reading; its error is read below.
        let _ = stdin.write_all(&bytes);
        drop(stdin);
        let mut why = String::new();
        stderr.read_to_string(&mut why).map(|_| why)
    };
    let why = tokio::task::spawn_blocking(talk).await.map_err(io::Error::other)??;
    let status = compiler.0.wait()?;
    Ok(match status.code() {
        Some(0) => Ok(()),
        _ if !why.is_empty() => Err(why),
        _ => Err(format!("the process that compiles it was ended: {status}")),
    })
}
