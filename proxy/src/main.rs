//! The program.

use std::process::ExitCode;

use bytefreezer_proxy::{
    cli::{self, Action},
    run,
};

fn main() -> ExitCode {
    match cli::start(std::env::args_os()) {
        Action::End(code) => code,
        Action::Run(options) => run::run(&options),
    }
}
