//! The program.

use std::process::ExitCode;

use bytefreezer_proxy::cli::{self, Action};

fn main() -> ExitCode {
    match cli::start(std::env::args_os()) {
        Action::End(code) => code,
        Action::Run(_) => {
            eprintln!("not assembled yet");
            ExitCode::FAILURE
        }
    }
}
