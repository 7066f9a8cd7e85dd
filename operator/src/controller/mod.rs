//! The loop: whoever has to be looked at gets a pass, a bounded number at a time, in the replica that leads.
//!
//! | file | what |
//! |---|---|
//! | [`queue`] | who has to be looked at, and when |
//! | [`pass`] | one look at one Proxy: the pipeline |
//! | [`judge`] | who takes part |
//! | [`desired`] | what shall be there for them |
//! | [`report`] | what is said on the objects |
//! | [`memory`] | what is remembered between two passes |

mod desired;
mod judge;
mod memory;
mod pass;
mod queue;
mod report;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info, info_span, warn};

pub use pass::Context;
pub use queue::Queue;

use crate::{gather::recall, key::ObjectKey, leader::Standing};
use memory::Memory;
use pass::PassError;
use queue::Turn;

/// How long changes settle.
pub const SETTLE: Duration = Duration::from_millis(300);
/// How many Proxies are looked at at a time.
const PASSES: usize = 8;
/// How long passes may take to end when the operator does.
const END: Duration = Duration::from_secs(10);

/// A pass that ended.
struct Ended {
    turn: Turn,
    memory: Memory,
    again: Option<Instant>,
}

/// Runs until `end`, in turns with the other replicas.
pub async fn run(context: Arc<Context>, queue: Arc<Queue>, standing: Standing, end: CancellationToken) {
    while !end.is_cancelled() {
        tokio::select! {
            () = standing.gained() => (),
            () = end.cancelled() => return,
        }
        tokio::select! {
            () = recall(&context.world, &context.client) => (),
            () = standing.lost() => continue,
            () = end.cancelled() => return,
        }
        queue.add_all(context.world.proxies());
        lead(&context, &queue, &standing, &end).await;
        context.rest();
    }
}

/// Gives passes until this replica no longer leads.
async fn lead(context: &Arc<Context>, queue: &Arc<Queue>, standing: &Standing, end: &CancellationToken) {
    let mut memories: HashMap<ObjectKey, Memory> = HashMap::new();
    let mut passes = JoinSet::new();
    loop {
        tokio::select! {
            turn = queue.next(), if passes.len() < PASSES => {
                let memory = memories.remove(&turn.key).unwrap_or_default();
                let span = info_span!("pass", proxy = %turn.key);
                passes.spawn(look(Arc::clone(context), turn, memory).instrument(span));
            }
            Some(ended) = passes.join_next() => match ended {
                Ok(Ended { turn, memory, again }) => {
                    if context.world.knows(&turn.key) {
                        memories.insert(turn.key.clone(), memory);
                    } else {
                        context.forget(&turn.key);
                    }
                    if let Some(again) = again {
                        queue.add_at(turn.key.clone(), again);
                    }
                }
                Err(error) => {
                    error!(%error, "a pass ended before its time; every Proxy is looked at again");
                    queue.add_all(context.world.proxies());
                }
            },
            () = standing.lost() => break,
            () = end.cancelled() => break,
        }
    }
    // What is under way ends by itself; the fence holds back what is no longer ours to write.
    let rest = async { while passes.join_next().await.is_some() {} };
    if tokio::time::timeout(END, rest).await.is_err() {
        warn!("passes are still under way and are given up; whoever leads next begins them anew");
    }
}

async fn look(context: Arc<Context>, turn: Turn, mut memory: Memory) -> Ended {
    let start = Instant::now();
    let result = pass::pass(&context, &turn.key, &mut memory).await;
    context.metrics.pass_seconds.observe(start.elapsed().as_secs_f64());
    let label = result.as_ref().err().map_or("done", PassError::label);
    context.metrics.passes.get_or_create(&[("result", label)]).inc();
    let again = match result {
        Ok(again) => {
            memory.succeeded();
            again
        }
        Err(error) => {
            let pause = memory.failed();
            if matches!(error, PassError::Fenced) {
                info!("the pass ends, since this replica does not lead");
            } else {
                warn!(%error, ?pause, "the pass failed and is tried again");
            }
            Some(Instant::now() + pause)
        }
    };
    Ended { turn, memory, again }
}

#[cfg(test)]
mod tests;
