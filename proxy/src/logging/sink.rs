//! Standard output that never makes a writer wait: a reader that stands still (a stuck container runtime, a paused
//! terminal) costs log lines, not data. What is left out is counted and said.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait.
const QUEUE: usize = 4096;

/// Where lines go; clones share it.
#[derive(Debug, Clone)]
pub struct Sink {
    lines: Sender<Item>,
    left_out: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

impl Sink {
    /// Starts the thread that writes to `out`.
    pub fn new(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, queue) = bounded(QUEUE);
        let left_out = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&left_out);
        thread::Builder::new().name("logs".to_owned()).spawn(move || write(out, &queue, &counted))?;
        Ok(Self { lines, left_out })
    }

    /// Waits until everything before is written, at most so long.
    pub fn flush(&self, within: Duration) {
        let (done, wait) = bounded(1);
        if self.lines.send_timeout(Item::Flush(done), within).is_ok() {
            let _ = wait.recv_timeout(within);
        }
    }
}

/// Ends when all sinks are gone. An output that is closed takes nothing more; there is nobody to tell.
fn write(mut out: impl Write, queue: &Receiver<Item>, left_out: &AtomicU64) {
    for item in queue {
        match item {
            Item::Line(line) => {
                let _ = out.write_all(&line);
            }
            Item::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
        let missing = left_out.swap(0, Relaxed);
        if missing > 0 {
            let _ = writeln!(
                out,
                "{{\"level\":\"WARN\",\"message\":\"{missing} log lines left out: standard output took none\"}}"
            );
        }
    }
}

/// One line while it is put together.
#[derive(Debug)]
pub struct Line<'a> {
    sink: &'a Sink,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = Item::Line(std::mem::take(&mut self.bytes));
        if self.sink.lines.try_send(line).is_err() {
            self.sink.left_out.fetch_add(1, Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { sink: self, bytes: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    /// Takes nothing until its lock is free.
    #[derive(Clone, Default)]
    struct Stuck(Arc<Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_stands_still_costs_lines_and_says_how_many() {
        let out = Stuck::default();
        let sink = Sink::new(out.clone()).unwrap();
        let held = out.0.lock();
        for number in 0..QUEUE + 100 {
            writeln!(sink.make_writer(), "line {number}").unwrap();
        }
        sink.flush(Duration::from_millis(10));
        drop(held);
        sink.flush(Duration::from_secs(30));
        let text = String::from_utf8(out.0.lock().clone()).unwrap();
        assert!(text.starts_with("line 0\n"), "{text:.50}");
        assert!(text.contains("log lines left out"));
        let written = text.lines().filter(|line| line.starts_with("line ")).count();
        assert!((QUEUE..QUEUE + 100).contains(&written), "{written}");
    }
}
