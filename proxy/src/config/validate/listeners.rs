//! Inputs that cannot stand beside each other or beside the API.
//!
//! At start the one that comes first in the file keeps its place. At a reload what runs goes first: an entry that is
//! wrong, or whose new version has no place, goes on as it runs. Versions that run never conflict, so a reload ends no
//! input that the file still names.

use std::collections::BTreeSet;

use super::inputs::Built;
use crate::config::{
    model::{Input, Listen, Server, Source},
    problems::{Fault, Problems},
    sharing::{Conflict, Sharing},
};

/// An entry of the file.
struct Candidate<'a> {
    index: usize,
    /// `None` when it is wrong.
    wanted: Option<&'a Input>,
    /// What it runs as.
    running: Option<&'a Input>,
}

/// Each entry's input, new or as it runs, in the order of the file; what is wrong with the others is reported. `former`
/// has what each entry runs as.
pub(super) fn arrange(
    built: &[Built],
    former: &[Option<Input>],
    server: &Server,
    problems: &mut Problems,
) -> Vec<Input> {
    let candidates = candidates(built, former, problems);
    let mut kept: BTreeSet<usize> =
        candidates.iter().filter(|one| one.wanted.is_none()).map(|one| one.index).collect();
    let placed = loop {
        match place(&candidates, &kept, server) {
            Ok(placed) => break placed,
            Err(conflicts) => {
                for (index, conflict) in conflicts {
                    report(index, conflict, problems);
                    kept.insert(index);
                }
            }
        }
    };
    for (index, conflict) in placed.conflicts {
        report(index, conflict, problems);
    }
    problems.go_on(&kept);
    let mut inputs = placed.inputs;
    inputs.sort_by_key(|(index, _)| *index);
    inputs.into_iter().map(|(_, input)| input.clone()).collect()
}

fn candidates<'a>(
    built: &'a [Built],
    former: &'a [Option<Input>],
    problems: &Problems,
) -> Vec<Candidate<'a>> {
    let running = |index: usize| former.get(index).and_then(Option::as_ref);
    let right = built.iter().map(|one| Candidate {
        index: one.index,
        wanted: Some(&one.input),
        running: running(one.index),
    });
    let wrong = (0..former.len())
        .filter(|index| problems.input_failed(*index))
        .filter_map(|index| Some(Candidate { index, wanted: None, running: Some(running(index)?) }));
    let mut candidates: Vec<_> = right.chain(wrong).collect();
    candidates.sort_by_key(|one| one.index);
    candidates
}

/// Who has a place.
#[derive(Default)]
struct Placed<'a> {
    inputs: Vec<(usize, &'a Input)>,
    /// Of those that have none, and of running ones that the API is now in the way of.
    conflicts: Vec<(usize, Conflict)>,
}

/// Gives everybody a place who can have one. Fails with those that must go on as they run.
fn place<'a>(
    candidates: &[Candidate<'a>],
    kept: &BTreeSet<usize>,
    server: &Server,
) -> Result<Placed<'a>, Vec<(usize, Conflict)>> {
    let mut sharing = Sharing::default();
    let mut placed = Placed::default();
    let mut back = Vec::new();
    let stays = |one: &Candidate<'_>| kept.contains(&one.index) || one.wanted == one.running;
    let (first, then): (Vec<_>, Vec<_>) = candidates.iter().partition(|one| stays(one));
    for one in first {
        let Some(input) = one.running else { continue };
        placed.conflicts.extend(own_port(input, server).map(|conflict| (one.index, conflict)));
        match sharing.add(&label(one.index), input) {
            Ok(()) => placed.inputs.push((one.index, input)),
            Err(conflict) => placed.conflicts.push((one.index, conflict)),
        }
    }
    for one in then {
        let Some(input) = one.wanted else { continue };
        let conflict = own_port(input, server).map_or_else(|| sharing.add(&label(one.index), input), Err);
        match conflict {
            Ok(()) => placed.inputs.push((one.index, input)),
            Err(conflict) if one.running.is_some() => back.push((one.index, conflict)),
            Err(conflict) => placed.conflicts.push((one.index, conflict)),
        }
    }
    if back.is_empty() { Ok(placed) } else { Err(back) }
}

fn label(index: usize) -> String {
    format!("inputs[{index}]")
}

fn report(index: usize, conflict: Conflict, problems: &mut Problems) {
    let key = format!("inputs[{index}].config.{}", conflict.key);
    problems.fault(Fault::Conflict, &key, conflict.what, conflict.remedy);
}

/// Whether the API stands where the input wants to listen.
fn own_port(input: &Input, server: &Server) -> Option<Conflict> {
    let connects = matches!(input.source, Source::Http(_)) || input.source.stream().is_some();
    let taken = [(Some(server.api_port), "server.api_port"), (server.health_port, "server.health_port")];
    let (_, name) = taken.into_iter().filter(|_| connects).find(|(port, _)| {
        port.is_some_and(|port| input.listen.overlaps(&Listen { host: server.api_host, port }))
    })?;
    Some(Conflict {
        key: "port",
        what: format!("tcp port {} is `{name}`", input.listen.port),
        remedy: "write another port".to_owned(),
    })
}
