//! The `walbridge` program: everything is in the library.

/// Gives memory back after a burst and keeps many small rows dense.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    walbridge::cli::main()
}
