//! Threads that compress tails and write batch files, so that the writer does neither. All jobs of one batch go to
//! the same thread, in order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::{
    Entry, Shared, SpoolError, Stamp, State,
    backlog::{Origin, Record},
    files::Tree,
    frame::Totals,
    member::Compressor,
    metrics::Usage,
    open_batch::{Building, Tail},
    thread,
};
use crate::batch::{Reservation, Stream};

/// One thing to do.
#[derive(Debug)]
pub enum Job {
    /// Compress and append.
    Tail(Arc<Building>, Tail, Arc<Stream>),
    /// Append.
    Member(Arc<Building>, Vec<u8>, Reservation),
    /// The batch is closed, synced in the log, and all its bytes were handed over: show it to delivery.
    Publish(Arc<Building>, Totals),
    /// Answer when everything before this is done.
    Barrier(Sender<()>),
}

/// Bytes in tails: in the writer and on their way to a file.
#[derive(Debug, Default)]
pub struct TailBytes(AtomicU64);

impl TailBytes {
    /// Bytes now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// More.
    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Relaxed);
    }

    fn sub(&self, bytes: usize) {
        self.0.fetch_sub(bytes as u64, Relaxed);
    }
}

/// The threads.
#[derive(Debug)]
pub struct Filer {
    lanes: Vec<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Filer {
    /// Starts `threads` threads.
    pub fn start(shared: &Arc<Shared>, threads: usize) -> Result<Self, SpoolError> {
        let mut filer = Self { lanes: Vec::new(), threads: Vec::new() };
        for number in 0..threads.max(1) {
            let (lane, jobs) = unbounded();
            let mut lane_of = Lane { shared: Arc::clone(shared), compressor: Compressor::default() };
            let run = move || lane_of.run(&jobs);
            filer.threads.push(thread::essential(&format!("spool-file-{number}"), run)?);
            filer.lanes.push(lane);
        }
        Ok(filer)
    }

    /// Hands a job to the batch's thread.
    pub fn send(&self, stamp: Stamp, job: Job) {
        let lane = (stamp.0 >> 16) as usize % self.lanes.len().max(1);
        if let Some(lane) = self.lanes.get(lane) {
            drop(lane.send(job));
        }
    }

    /// Answers on `done`, once per thread, when everything handed over so far is done; returns the number of answers.
    pub fn barrier(&self, done: &Sender<()>) -> usize {
        for lane in &self.lanes {
            drop(lane.send(Job::Barrier(done.clone())));
        }
        self.lanes.len()
    }

    /// Ends the threads when their jobs are done.
    pub fn stop(self) {
        drop(self.lanes);
        for thread in self.threads {
            drop(thread.join());
        }
    }
}

struct Lane {
    shared: Arc<Shared>,
    compressor: Compressor,
}

impl Lane {
    fn run(&mut self, jobs: &Receiver<Job>) {
        for job in jobs {
            match job {
                Job::Tail(file, tail, stream) => self.tail(&file, &tail, &stream),
                Job::Member(file, bytes, memory) => {
                    self.append(&file, &bytes);
                    Usage::take(&self.shared.usage().incoming, bytes.len() as u64);
                    file.under_way.fetch_sub(bytes.len() as u64, Relaxed);
                    drop(memory);
                }
                Job::Publish(file, totals) => self.publish(&file, totals),
                Job::Barrier(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    fn tail(&mut self, file: &Building, tail: &Tail, stream: &Stream) {
        let level = self.shared.level(Some(&stream.batching));
        let member = self.compressor.member(&tail.raw, tail.lines, file.key.class, tail.first_ns, level);
        self.append(file, &member);
        file.under_way.fetch_sub(tail.raw.len() as u64, Relaxed);
        self.shared.tails.sub(tail.raw.len());
    }

    /// The bytes are in the log already, so this may wait until there is room; at the end of the process it may be
    /// left undone, and recovery makes up for it.
    fn append(&self, file: &Building, bytes: &[u8]) {
        if file.given_up.load(Relaxed) {
            return;
        }
        let at = file.len.load(Relaxed);
        let written = self
            .shared
            .patiently(&file.name, || self.shared.store.write(Tree::Batches, &file.name, at, bytes));
        if written.is_ok() {
            file.len.fetch_add(bytes.len() as u64, Relaxed);
            self.shared.usage().files.fetch_add(bytes.len() as u64, Relaxed);
        } else {
            file.given_up.store(true, Relaxed);
        }
    }

    fn publish(&self, file: &Building, totals: Totals) {
        if self.shared.abandoned.is_set() {
            return;
        }
        failpoint!("close.publish");
        let bytes = file.len.load(Relaxed);
        let metrics = self.shared.metrics();
        metrics.batch_bytes.observe(bytes as f64);
        metrics.batch_lines.observe(totals.lines as f64);
        let entry = Entry {
            stamp: file.name.stamp,
            key: file.key.dataset.clone(),
            hint: file.key.hint.clone(),
            class: file.key.class,
            lines: totals.lines,
            raw_bytes: totals.raw,
            file_bytes: bytes,
            state: State::Queue,
            attempts: 0,
            last_attempt: None,
            failure: None,
        };
        self.shared.backlog.insert(Record { entry, tree: Tree::Batches, has_meta: false }, Origin::Closed);
    }
}
