//! The command line.

use std::{ffi::OsString, fmt::Write as _, io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    config::{self, Severity},
    run::Options,
    source,
    spool::tool,
};

/// Receives data, keeps it safe and delivers it to a ByteFreezer Receiver.
#[derive(Debug, Parser)]
#[command(name = "bytefreezer-proxy", version, disable_help_subcommand = true)]
pub struct Cli {
    /// The configuration file [default: $CONFIG_FILE, else config.yaml].
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Wait until there is a configuration that can be used instead of ending without one; alive meanwhile, not ready.
    #[arg(long)]
    wait_for_config: bool,
    /// Write what is left in the spool to this file at the end, as JSON of at most 4096 bytes.
    #[arg(long, value_name = "FILE")]
    termination_message: Option<PathBuf>,
    /// Check the configuration and end.
    #[arg(long)]
    validate_config: bool,
    /// The same as --validate-config.
    #[arg(long)]
    dry_run: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print every problem of a configuration with file, line, key and remedy.
    Check {
        /// The file; default as for --config.
        file: Option<PathBuf>,
        /// Warnings count as errors.
        #[arg(long)]
        strict: bool,
    },
    /// Print documentation of the configuration.
    Config {
        #[command(subcommand)]
        what: Documentation,
    },
    /// Look at a spool, check it or mend it, without a running proxy.
    Spool {
        #[command(subcommand)]
        what: tool::Command,
    },
}

#[derive(Debug, Subcommand)]
enum Documentation {
    /// Every key with its default, as Markdown.
    Reference,
    /// The JSON schema of the file.
    Schema,
    /// The environment variable of every key.
    Environment,
}

/// What `main` does next.
#[derive(Debug)]
pub enum Action {
    /// Run the proxy.
    Run(Options),
    /// End with this code.
    End(ExitCode),
}

/// Parses `arguments` (with the program's name) and does all that needs no running proxy.
pub fn start(arguments: impl Iterator<Item = OsString>) -> Action {
    let cli = Cli::parse_from(arguments.map(double_dash));
    let file = || cli.config.clone().unwrap_or_else(default_file);
    match cli.command {
        Some(Command::Check { file: given, strict }) => Action::End(check(
            &given.unwrap_or_else(file),
            if strict { Severity::Warning } else { Severity::Error },
        )),
        Some(Command::Config { what }) => Action::End(print(&match what {
            Documentation::Reference => config::reference(),
            Documentation::Schema => format!("{:#}\n", config::json_schema()),
            Documentation::Environment => config::environment_names().join("\n") + "\n",
        })),
        Some(Command::Spool { what }) => {
            let answer = tool::run(&what);
            eprint!("{}", answer.error);
            print(&answer.text);
            Action::End(answer.verdict.into())
        }
        None if cli.validate_config || cli.dry_run => Action::End(check(&file(), Severity::Error)),
        None => Action::Run(Options {
            config: file(),
            wait: cli.wait_for_config,
            termination_message: cli.termination_message,
        }),
    }
}

fn default_file() -> PathBuf {
    std::env::var_os("CONFIG_FILE")
        .filter(|file| !file.is_empty())
        .unwrap_or_else(|| "config.yaml".into())
        .into()
}

/// `-config` is what users of the former program may write.
fn double_dash(argument: OsString) -> OsString {
    const LONG: [&str; 5] = ["config", "validate-config", "dry-run", "version", "help"];
    let long = argument.to_str().and_then(|text| {
        let name = text.strip_prefix('-').filter(|name| !name.starts_with('-'))?;
        LONG.contains(&name.split('=').next()?).then(|| format!("--{name}"))
    });
    long.map_or(argument, OsString::from)
}

fn check(file: &std::path::Path, limit: Severity) -> ExitCode {
    let source::Found { file, text } = match source::read(file) {
        Ok(found) => found,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut loaded = config::load(&file.display().to_string(), &text, environment());
    loaded.look_for_files();
    let mut page = String::new();
    for problem in &loaded.problems {
        let _ = writeln!(page, "{problem}");
    }
    let count = |severity| loaded.problems.iter().filter(|problem| problem.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let verdict = if errors == 0 { "configuration is valid" } else { "configuration is not valid" };
    let _ = writeln!(page, "{}: {verdict} (errors: {errors}, warnings: {warnings})", file.display());
    print(&page);
    if loaded.problems.iter().any(|problem| problem.severity >= limit) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// The variables of the process that are text.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// A closed pipe is no error of ours.
fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
