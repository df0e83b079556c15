//! The `reprieve` binary.

use reprieve_secrets::wiping::WipingAllocator;

/// A denied poll allocates some forty times, and a connection that waits holds little pieces: both
/// cost less than with the system's (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: WipingAllocator<mimalloc::MiMalloc> = WipingAllocator(mimalloc::MiMalloc);

fn main() -> std::process::ExitCode {
    if let Some(code) = reprieve_policy_host::compile_if_asked() {
        return code;
    }
    reprieve::cli::main()
}
