//! What is wrong now, in words, for the health page, the status and the readiness probe.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::{ApiState, Delivery};
use crate::{
    batch::MemoryBudget,
    inputs::{InputState, InputStatus},
    spool::SpoolHandle,
};

/// Share of the memory budget from which on hardly anything gets in.
const EXHAUSTED: f32 = 0.95;
/// For how long it must be so: a burst is no problem.
const FOR: Duration = Duration::from_secs(10);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the spool suffers from.
#[derive(Debug, Clone, Default)]
pub struct SpoolTrouble {
    /// Why nothing can be written, if so.
    pub unwritable: Option<String>,
    /// Why batch files cannot be written, if so; their lines are safe in the log.
    pub files_unwritable: Option<String>,
    /// Batches and folders of earlier runs that cannot be read.
    pub unreadable: u64,
    /// No room for data that waits for an answer.
    pub full_acknowledged: bool,
    /// No room for other data.
    pub full_unacknowledged: bool,
}

impl SpoolTrouble {
    /// Now.
    pub fn of(spool: &SpoolHandle) -> Self {
        let usage = spool.usage();
        Self {
            unwritable: usage.unwritable,
            files_unwritable: usage.files_unwritable,
            unreadable: usage.unreadable,
            full_acknowledged: usage.full.acknowledged,
            full_unacknowledged: usage.full.unacknowledged,
        }
    }
}

/// Looks at the memory budget until dropped.
#[derive(Debug)]
pub struct MemoryWatch {
    since: Arc<Mutex<Option<Instant>>>,
    task: AbortHandle,
}

impl MemoryWatch {
    /// Begins to look.
    pub fn start(memory: MemoryBudget) -> Self {
        let since = Arc::<Mutex<Option<Instant>>>::default();
        let seen = Arc::clone(&since);
        let look = async move {
            loop {
                note(&mut seen.lock(), memory.fill_of_lines(), Instant::now());
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        Self { since, task: tokio::spawn(look).abort_handle() }
    }

    /// What it means when the budget has been used up for long.
    pub fn problem(&self) -> Option<String> {
        problem(*self.since.lock(), Instant::now())
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn note(since: &mut Option<Instant>, fill: f32, now: Instant) {
    *since = if fill >= EXHAUSTED { since.or(Some(now)) } else { None };
}

fn problem(since: Option<Instant>, now: Instant) -> Option<String> {
    let seconds = now.saturating_duration_since(since?);
    (seconds > FOR).then(|| {
        let seconds = seconds.as_secs();
        format!("memory: the budget has been used up for {seconds} s, inputs refuse or wait; see the disk's speed, or raise limits.memory_bytes")
    })
}

/// What is wrong now.
pub fn now(state: &ApiState, inputs: &[InputStatus], delivery: &Delivery) -> Vec<String> {
    let mut problems = of_spool(&(state.spool_trouble)());
    problems.extend((state.memory_problem)());
    problems.extend(of_inputs(inputs));
    problems.extend(of_delivery(delivery));
    let running = state.running.load();
    problems.extend(running.left_out.iter().map(|problem| format!("configuration: {problem}")));
    problems.extend(
        running
            .needs_restart
            .iter()
            .map(|key| format!("configuration: `{key}` was changed and needs a restart to take effect")),
    );
    problems.extend((state.config_problem)().map(|problem| format!("configuration not applied: {problem}")));
    problems
}

fn of_spool(trouble: &SpoolTrouble) -> Vec<String> {
    let full = |class, effect| {
        format!(
            "spool: full for {class} data, {effect}; see why the Receiver does not take batches, or raise spooling.max_size_bytes"
        )
    };
    let mut problems = Vec::new();
    problems
        .extend(trouble.unwritable.as_ref().map(|problem| format!("spool: it cannot be written: {problem}")));
    problems.extend(trouble.files_unwritable.as_ref().map(|problem| {
        format!("spool: batch files cannot be written, their lines wait in the log: {problem}")
    }));
    if trouble.full_acknowledged {
        problems.push(full("acknowledged", "HTTP answers 503"));
    }
    if trouble.full_unacknowledged {
        problems.push(full("unacknowledged", "datagrams are dropped, TCP waits"));
    }
    if trouble.unreadable > 0 {
        problems.push(format!(
            "spool: {} batches or folders of an earlier run cannot be read; the log names them",
            trouble.unreadable
        ));
    }
    problems
}

fn of_inputs(inputs: &[InputStatus]) -> impl Iterator<Item = String> {
    inputs.iter().filter_map(|input| {
        let error = input.error.as_ref()?;
        Some(format!("input {} ({}/{}): {error}", input.name, input.tenant_id, input.dataset_id))
    })
}

fn of_delivery(delivery: &Delivery) -> impl Iterator<Item = String> {
    delivery.circuits.iter().map(|circuit| {
        let whose: Vec<_> =
            [&circuit.tenant_id, &circuit.dataset_id].into_iter().flatten().map(String::as_str).collect();
        let whose = if whose.is_empty() { String::new() } else { format!(" {}", whose.join("/")) };
        format!("delivery to {}{whose}: {}", circuit.scope, circuit.message)
    })
}

/// Why nothing is taken in, if so. Where a program wrote the configuration and looks at each input itself, it is enough
/// that all of them were tried: the process must go on to count as one that can be asked.
pub fn not_ready(
    inputs: &[InputStatus],
    trouble: &SpoolTrouble,
    memory: Option<String>,
    tried_is_enough: bool,
) -> Option<String> {
    if let Some(problem) = &trouble.unwritable {
        return Some(format!("the spool cannot be written: {problem}"));
    }
    let named = |input: &InputStatus| format!("{} ({}/{})", input.name, input.tenant_id, input.dataset_id);
    if let Some(input) = inputs.iter().find(|input| input.state == InputState::Starting) {
        return Some(format!("input {} was not tried yet", named(input)));
    }
    let works = |input: &&InputStatus| matches!(input.state, InputState::Listening | InputState::Paused);
    let mut working = inputs.iter().filter(works).peekable();
    if let Some(first) = inputs.first().filter(|_| working.peek().is_none() && !tried_is_enough) {
        let error = first.error.as_deref().unwrap_or("stopped");
        return Some(format!("no input listens; {}: {error}", named(first)));
    }
    let full = |input: &InputStatus| {
        if input.kind == "http" { trouble.full_acknowledged } else { trouble.full_unacknowledged }
    };
    if working.peek().is_some() && working.all(full) {
        return Some("the spool is full for every input".to_owned());
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_a_problem_after_ten_seconds_without_a_pause() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut since = None;
        for second in 0..=10 {
            note(&mut since, 1.0, at(second));
            assert_eq!(problem(since, at(second)), None);
        }
        assert!(problem(since, at(12)).unwrap().contains("12 s"));
        note(&mut since, 0.5, at(13));
        note(&mut since, 1.0, at(14));
        assert_eq!(problem(since, at(20)), None);
    }
}
