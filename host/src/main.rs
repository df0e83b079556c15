//! The `reprieve` binary.

fn main() -> std::process::ExitCode {
    reprieve::cli::main()
}
