//! `bytefreezer-proxy spool ls|verify|repair|own`: a spool read, checked and mended without a running proxy.
//!
//! Nothing here parses bytes: frames, members and names are read by the modules that recovery uses, and `repair` is
//! recovery itself.

mod instance;
mod ls;
mod own;
mod repair;
mod salvage;
#[cfg(test)]
mod tests;
mod verify;

pub(super) use ls::waiting;

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::instance as folders;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List instances, log segments and batches. Reads only.
    Ls(Where),
    /// Check every frame and every gzip member; exit code 0: sound, 1: problems, 2: cannot be read. Reads only.
    Verify(Where),
    /// Do what the next start of the proxy would do: put batches together from the log, set aside what is damaged.
    Repair {
        /// Where.
        #[command(flatten)]
        place: Where,
        /// Also take the readable lines out of quarantine, as new batches.
        #[arg(long)]
        salvage: bool,
    },
    /// Give the spool directory to a user and its group, by number; nothing below it.
    Own {
        /// The spool directory.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The user's number.
        #[arg(value_name = "UID")]
        user: u32,
    },
}

/// Where, and how to answer.
#[derive(Debug, Args)]
pub struct Where {
    /// The spool directory (`spooling.directory`), or one `.instance-N` folder in it.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

/// What a command found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Sound,
    /// There are problems.
    Problems,
    /// It could not be done.
    Failed,
}

/// What to print, and how to end.
#[derive(Debug)]
pub struct Answer {
    /// For standard output.
    pub text: String,
    /// For standard error.
    pub error: String,
    /// How it ended.
    pub verdict: Verdict,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        Self::from(match verdict {
            Verdict::Sound => 0,
            Verdict::Problems => 1,
            Verdict::Failed => 2,
        })
    }
}

/// Does it.
pub fn run(command: &Command) -> Answer {
    let (place, done) = match command {
        Command::Ls(place) => (place, each(place, ls::instance)),
        Command::Verify(place) => (place, each(place, verify::instance)),
        Command::Repair { place, salvage } => {
            (place, each(place, |folder| repair::instance(folder, *salvage)))
        }
        Command::Own { directory, user } => return own(directory, *user),
    };
    match done {
        Ok(reports) => {
            let verdict = reports.iter().map(Report::verdict).max_by_key(|verdict| *verdict as u8);
            let text = if place.json { json(&reports) } else { text(&reports) };
            Answer { text, error: String::new(), verdict: verdict.unwrap_or(Verdict::Sound) }
        }
        Err(error) => {
            let error = format!("{}: cannot be read: {error}\n", place.directory.display());
            Answer { text: String::new(), error, verdict: Verdict::Failed }
        }
    }
}

fn own(directory: &Path, user: u32) -> Answer {
    match own::folder(directory, user) {
        Ok(()) => Answer { text: String::new(), error: String::new(), verdict: Verdict::Sound },
        Err(error) => {
            let error = format!("{}: cannot be given to user {user}: {error}\n", directory.display());
            Answer { text: String::new(), error, verdict: Verdict::Failed }
        }
    }
}

/// What is to be said of one instance folder.
trait Report: Serialize {
    fn verdict(&self) -> Verdict;
    fn write(&self, page: &mut String);
}

fn each(place: &Where, mut look: impl FnMut(&Path) -> io::Result<Said>) -> io::Result<Vec<Said>> {
    instances(&place.directory)?.iter().map(|folder| look(folder)).collect()
}

/// Any report, so that all commands go one way.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Said {
    Ls(ls::Listing),
    Verify(verify::Findings),
    Repair(repair::Repaired),
}

impl Report for Said {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Ls(said) => said.verdict(),
            Self::Verify(said) => said.verdict(),
            Self::Repair(said) => said.verdict(),
        }
    }

    fn write(&self, page: &mut String) {
        match self {
            Self::Ls(said) => said.write(page),
            Self::Verify(said) => said.write(page),
            Self::Repair(said) => said.write(page),
        }
    }
}

/// The folders to look at, by name.
fn instances(directory: &Path) -> io::Result<Vec<PathBuf>> {
    if directory.join("FORMAT").is_file() || directory.join("log").is_dir() {
        return Ok(vec![directory.to_owned()]);
    }
    std::fs::read_dir(directory)?;
    let mut found = folders::existing(directory)?;
    found.sort();
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "there is no .instance-N folder in it; name the directory of spooling.directory",
        ));
    }
    Ok(found)
}

fn json(reports: &[Said]) -> String {
    let all = serde_json::json!({ "instances": reports });
    format!("{all:#}\n")
}

fn text(reports: &[Said]) -> String {
    let mut page = String::new();
    for report in reports {
        report.write(&mut page);
    }
    page
}

/// One line of a page.
fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(page, "{text}");
}
