//! From a component's bytes to machine code. The time and memory that a compiler takes are not
//! bounded by the size of what it compiles, so the binary does it in a process of its own, which
//! ends when it has taken more than such a component is worth. What the compiler took goes back
//! to the machine with that process.

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
use super::{digest, diagnostics};
use reprieve_metrics::cpu_time;

/// The first argument of the process that compiles.
const COMMAND: &str = "compile-policy";
/// What it writes of an error.
const LONGEST_ERROR: usize = 4096;
/// How often it looks at what it has taken.
const LOOK: Duration = Duration::from_millis(20);
/// CPU time for any component, and for each MiB of it. Optimised code takes about a second for
/// each MiB on a slow core.
const TIME: Duration = Duration::from_secs(15);
/// Memory for any component, and for each byte of it: real ones need half of that or less.
const MEMORY: u64 = 512 << 20;
const MEMORY_PER_BYTE: u64 = 64;
const MIB: u64 = 1 << 20;

/// Whether the program that runs begins with [`compile_if_asked`]. Others, such as tests, compile
/// in their own process.
static APART: AtomicBool = AtomicBool::new(false);
/// The file that runs, as it was at the start.
static PROGRAM: OnceLock<(PathBuf, (u64, u64))> = OnceLock::new();

/// Compiles a component if this process was started for that. For the first line of `main`.
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

/// What compiling a component may take.
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

    /// Ends this process when it has taken more, or when nobody waits for it any longer.
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

/// Bytes of memory that this process has.
fn resident() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: the call takes a number, changes nothing and cannot fail for this name.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages.saturating_mul(u64::try_from(page).unwrap_or(4096)))
}

fn give_up(why: &str) -> ! {
    let _ = write!(io::stderr(), "{why}");
    // SAFETY: the call only ends the process. Unlike `exit` it waits for no other thread, which
    // may hold what would be waited for.
    unsafe { libc::_exit(1) }
}

/// Makes a component of its bytes, which have this digest: from the engine's cache, or by
/// compiling them if `check` has nothing against it.
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
            // Under an emulator the other process may see a processor that can do more than this
            // one's. What it has compiled once takes no more than it may here.
            loaded(engine, code).or_else(|_| compiled_here(engine, bytes))?
        }
        Err(error) => {
            if error.kind() != io::ErrorKind::Unsupported {
                tracing::warn!(%error, "cannot start a process that compiles; a policy is compiled without a limit of memory");
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

/// Machine code on its way into the engine: a file in memory, which the engine maps. On the heap
/// it would leave a hole of many megabytes when it goes.
#[derive(Debug)]
pub(super) struct Code(File);

impl Code {
    pub(super) fn new() -> io::Result<Self> {
        let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
        Ok(Self(nix::sys::memfd::memfd_create("policy", flags)?.into()))
    }

    /// What was written, from its beginning.
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
    // SAFETY: the code was made by this very program for an engine of this configuration, which
    // the call checks, and was either handed over by the process that made it or comes from a
    // folder that nobody else can write, with a digest that holds. Nobody else has the file.
    unsafe { Component::deserialize_file(engine.wasmtime(), path) }
        .map_err(|error| format!("its machine code cannot be loaded: {error:#}"))
}

/// What code is kept under: it depends on the component, and on the engine.
fn key(engine: &Engine, sha256: &[u8; 32]) -> String {
    let mut hasher = DefaultHasher::new();
    engine.wasmtime().precompile_compatibility_hash().hash(&mut hasher);
    format!("{}-{:016x}", digest::hex(sha256), hasher.finish())
}

/// A process that ends when nobody waits for it any longer.
struct Compiler(Child);

impl Drop for Compiler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The file that runs: by its name, under which a debugger or a profiler finds it too, unless an
/// upgrade has put another there.
fn program() -> &'static Path {
    match PROGRAM.get() {
        Some((path, known)) if identity(path).is_some_and(|found| found == *known) => path,
        _ => Path::new("/proc/self/exe"),
    }
}

/// Which file a path leads to: its device and its inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Compiles in another process. The outer error: there is none.
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
        // One that has given up reads no further; it says why below.
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
