//! `make demo-k8s`: the chart on a real cluster, two datasets, `logger` from outside, and before your eyes a dataset that
//! changes, a pod that is deleted and a Receiver that is down; at the end a count of every event.

use std::{
    env,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use e2e::{
    receiver::{Receiver, Settings},
    sequence,
};

mod table;
mod traffic;
mod world;

use table::Table;
use traffic::Senders;
use world::{Dataset, World};

/// One event each 10 ms and dataset.
const DATASETS: [(&str, u16); 2] = [("fw-logs", 514), ("switches", 5514)];
/// How long the last events may take: batches of a second, then uploads.
const DRAIN: Duration = Duration::from_mins(1);

/// What happens at which second.
const SCRIPT: [(u64, Event); 5] = [
    (6, Event::Change),
    (12, Event::DeletePod),
    (26, Event::ReceiverDown),
    (34, Event::ReceiverUp),
    (42, Event::End),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Change,
    DeletePod,
    ReceiverDown,
    ReceiverUp,
    End,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo-k8s: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let world = World::connect()?;
    let receiver = Receiver::start(Settings { address: world.address(), ..Settings::default() })?;
    println!("Receiver       {}", receiver.url());
    world.install(&receiver.url(), &DATASETS)?;
    let targets = world.targets(&DATASETS)?;
    println!("senders        logger, from outside the cluster; they see nothing but the addresses below\n");

    let senders = Senders::start(&targets)?;
    let mut table = Table::new();
    let started = Instant::now();
    let mut script = SCRIPT.iter().peekable();
    let mut changed = None;
    loop {
        if let Some((_, event)) = script.next_if(|(second, _)| started.elapsed().as_secs() >= *second) {
            match event {
                Event::Change => {
                    World::change()?;
                    changed = Some(Instant::now());
                    table.say("dataset fw-logs changed: it keeps the raw line from now on");
                }
                Event::DeletePod => table.say(&format!("pod {} deleted", World::delete_pod()?)),
                Event::ReceiverDown => {
                    receiver.down();
                    table.say("Receiver down: everything goes to the pods' volumes");
                }
                Event::ReceiverUp => {
                    receiver.up()?;
                    table.say("Receiver up again");
                }
                Event::End => break,
            }
        }
        let view = world.look()?;
        if let Some(since) = changed
            && view.datasets.iter().all(Dataset::is_current)
        {
            let took = since.elapsed().as_secs_f64();
            table.say(&format!(
                "every pod has acknowledged the change, {took:.1} s after it; {}",
                view.restarts()
            ));
            changed = None;
        }
        table.show(&view, &receiver, &senders);
        thread::sleep(Duration::from_millis(if table.live { 250 } else { 1000 }));
    }
    let sent = senders.finish()?;
    let promised: u64 = sent.iter().map(|(_, sent)| sent.promised()).sum();
    table.say(&format!("senders stopped after {promised} events"));
    let arrived = receiver.wait_lines(promised, DRAIN);
    let view = world.look().context("a last look")?;
    table.end(&view);
    if let Err(late) = arrived {
        println!("{late:#}");
    }
    let all_well = count(&receiver, &sent)?;
    if env::var_os("KEEP").is_some() {
        println!(
            "\nKEEP is set: {} stays; `helm uninstall --namespace {0} {}` ends it",
            world::NAMESPACE,
            world::RELEASE
        );
    } else {
        World::remove()?;
    }
    Ok(all_well)
}

/// Prints what became of every event; whether all is well.
fn count(receiver: &Receiver, sent: &[(String, sequence::Sent)]) -> Result<bool> {
    let streams: Vec<_> = sent.iter().map(|(_, sent)| sent.clone()).collect();
    let accounts = sequence::account(&streams, &receiver.batches())?;
    println!("\n{:<24} {:>9} {:>9} {:>9} {:>6}", "event count", "sent", "delivered", "doubled", "lost");
    let mut all_well = true;
    for (name, sent) in sent {
        let account = accounts.get(&sent.stream).cloned().unwrap_or_default();
        println!(
            "{name:<24} {:>9} {:>9} {:>9} {:>6}",
            account.sent, account.delivered, account.duplicated, account.lost
        );
        all_well &= account.sent > 0 && account.lost == 0 && account.duplicated == 0;
    }
    all_well &= receiver.print_verdict();
    Ok(all_well)
}
