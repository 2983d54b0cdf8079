//! The binary `cifer`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
