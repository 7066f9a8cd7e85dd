//! The schedule against a pretended spool and a clock that the test turns.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::*;
use crate::{
    batch::Class,
    deliver::circuit::Pace,
    ids::Hint,
    spool::{Failure, Reason, Stamp},
};

mod circuits;
mod probes;
mod returns;
mod turns;

struct World {
    schedule: Schedule,
    now: Instant,
    spool: BTreeMap<DatasetKey, BTreeMap<Stamp, Entry>>,
    next_stamp: u64,
}

fn key(text: &str) -> DatasetKey {
    let (tenant, dataset) = text.split_once('/').unwrap();
    DatasetKey { tenant: tenant.parse().unwrap(), dataset: dataset.parse().unwrap() }
}

fn failure(reason: Reason) -> Failure {
    Failure { reason, status: None, message: "test".into() }
}

fn done(answer: Answer, then: Then) -> Report {
    Report { answer, then, buried: false }
}

fn down() -> Answer {
    Answer::Unavailable(failure(Reason::Network), None)
}

impl World {
    fn new() -> Self {
        let settings = Settings {
            per_tenant: 5,
            retry_interval: Duration::from_mins(1),
            auto_return: true,
            pace: Pace::default(),
        };
        Self {
            schedule: Schedule::new(settings),
            now: Instant::now() + Duration::from_hours(1),
            spool: BTreeMap::new(),
            next_stamp: 1,
        }
    }

    fn add(&mut self, name: &str, count: usize) {
        for _ in 0..count {
            let stamp = Stamp(self.next_stamp);
            self.next_stamp += 1;
            let entry = Entry {
                stamp,
                key: key(name),
                hint: Hint::ndjson(),
                class: Class::Acknowledged,
                lines: 1,
                raw_bytes: 1,
                file_bytes: 1,
                state: State::Queue,
                attempts: 0,
                last_attempt: None,
                failure: None,
            };
            self.spool.entry(key(name)).or_default().insert(stamp, entry);
        }
        self.schedule.touch(key(name));
    }

    fn next(&mut self) -> Option<Job> {
        for (key, limit) in self.schedule.take_hungry() {
            let all = self.spool.get(&key).cloned().unwrap_or_default();
            let live: Vec<_> =
                all.values().filter(|entry| entry.state != State::Dlq).take(limit).cloned().collect();
            let dlq = all.values().any(|entry| entry.state == State::Dlq);
            self.schedule.load(&key, &live, limit, dlq, self.now, SystemTime::now());
        }
        self.schedule.next(self.now)
    }

    fn all(&mut self) -> Vec<Job> {
        std::iter::from_fn(|| self.next()).collect()
    }

    fn end(&mut self, job: &Job, report: &Report) {
        if let Task::Upload(stamp) | Task::Bury(stamp, _) = job.task
            && report.then == Then::Left
            && let Some(batches) = self.spool.get_mut(&job.key)
        {
            if report.buried {
                batches.get_mut(&stamp).unwrap().state = State::Dlq;
            } else {
                batches.remove(&stamp);
            }
        }
        self.schedule.finish(job.id, report, self.now, SystemTime::now());
    }

    fn ok(&mut self, job: &Job) {
        self.end(job, &done(Answer::Accepted, Then::Left));
    }

    fn bury(&mut self, job: &Job, answer: Answer) {
        self.end(job, &Report { answer, then: Then::Left, buried: true });
    }

    fn pass(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    /// Turns the clock to the next moment at which something is due and returns the job, within `seconds`.
    fn wait(&mut self, seconds: f64) -> Option<Job> {
        let end = self.now + Duration::from_secs_f64(seconds);
        loop {
            if let Some(job) = self.next() {
                return Some(job);
            }
            let at = self.schedule.wakes_at()?;
            if at > end {
                self.now = end;
                return None;
            }
            assert!(at > self.now, "a timer that is due must lead to something");
            self.now = at;
        }
    }

    fn circuits(&self) -> Vec<String> {
        let shown = self.schedule.circuits(self.now, SystemTime::now());
        shown
            .into_iter()
            .map(|open| {
                [Some(open.scope), open.tenant_id, open.dataset_id].into_iter().flatten().collect::<Vec<_>>()
            })
            .map(|parts| parts.join(" "))
            .collect()
    }
}

fn stamp_of(job: &Job) -> u64 {
    match job.task {
        Task::Upload(stamp) | Task::Bury(stamp, _) => stamp.0,
        _ => panic!("{job:?}"),
    }
}
